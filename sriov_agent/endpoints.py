"""Endpoints of Services: an EndpointSlice in little memory, and which of a Service's endpoints a node uses. Pure.

The rules are kube-proxy's: pkg/proxy/endpointslicecache.go (what a slice says), pkg/proxy/topology.go (which are used).
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from sriov_agent import objects

_VERSIONS = {"IPv4": 4, "IPv6": 6}  # FQDN: for nobody who translates addresses

Key = tuple[str, str]
"""Namespace and name."""


class Here(msgspec.Struct, frozen=True):
    """This node, as far as Services depend on it."""

    node: str
    zone: str = ""
    addresses: tuple[str, ...] = ()


class Member(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """`node` is "" if the slice names none. `zones` and `nodes` are hints: who should use it."""

    address: str
    ready: bool
    leaving: bool
    node: str = ""
    zones: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


class MemberPort(msgspec.Struct, frozen=True, gc=False, array_like=True):
    name: str
    protocol: str
    number: int


class CompactSlice(msgspec.Struct, frozen=True, array_like=True):
    version: int
    ports: tuple[MemberPort, ...]
    endpoints: tuple[Member, ...]


def compact(told: objects.SliceObject, complain: Callable[[str], None]) -> CompactSlice | None:
    """Return the slice without what cannot be; None if it has no addresses. `complain` is called once for all."""
    version = _VERSIONS.get(told.address_type)
    if version is None:
        return None
    wrong: list[str] = []
    found = [_endpoint(each, version, wrong) for each in told.endpoints or ()]
    ports = [_port(each, wrong) for each in told.ports or ()]
    if wrong:
        name = f"{told.metadata.namespace}/{told.metadata.name}"
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        complain(f"EndpointSlice {name}: {wrong[0]}{more}; left out, the rest is used")
    return CompactSlice(version, tuple(filter(None, ports)), tuple(filter(None, found)))


def _endpoint(told: objects.SliceEndpoint, version: int, wrong: list[str]) -> Member | None:
    address = told.addresses[0] if told.addresses else ""  # kube-proxy takes the first and no other
    found = parsed(address)
    if found is None or found.version != version:
        wrong.append(f"address {address!r} is no IPv{version} address")
        return None
    hints = told.hints or objects.Hints()
    return Member(
        str(found),
        ready=told.conditions.ready is not False,
        leaving=told.conditions.serving is not False and told.conditions.terminating is True,
        node=told.node_name or "",
        zones=tuple(each.name for each in hints.for_zones),
        nodes=tuple(each.name for each in hints.for_nodes),
    )


def parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address; None for what is none, or is one on a certain link only.

    An IPv4 address in the words of IPv6, as in ::ffff:10.0.0.1, is the IPv4 address: the kernel knows no difference.
    """
    try:
        found = None if "%" in address else ipaddress.ip_address(address)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _port(told: objects.SlicePort, wrong: list[str]) -> MemberPort | None:
    if told.port is None or not 1 <= told.port <= 65535:
        wrong.append(f"port {told.name or ''!r} has the number {told.port}")
        return None
    return MemberPort(told.name or "", told.protocol or "TCP", told.port)


def of_port(slices: Iterable[CompactSlice], version: int, name: str, protocol: str) -> list[tuple[Member, int]]:
    """Return the endpoints of a Service's port, each once: while one moves, two slices have it."""
    found: dict[tuple[str, int], Member] = {}
    for each in slices:
        for port in each.ports:
            if (each.version, port.name, port.protocol) == (version, name, protocol):
                for endpoint in each.endpoints:
                    found.setdefault((endpoint.address, port.number), endpoint)
    return [(endpoint, number) for (_, number), endpoint in found.items()]


Ported = Sequence[tuple[Member, int]]


def for_cluster(ported: Ported, here: Here) -> Ported:
    """Return those that traffic with the policy Cluster goes to: the ready ones that hints give to this node.

    If none is ready, those that still serve while they terminate.
    """
    ready = [each for each in ported if each[0].ready]
    return _hinted(ready, here) or [each for each in ported if each[0].leaving]


def for_local(ported: Ported, here: Here) -> Ported:
    """Return those that traffic with the policy Local goes to: this node's."""
    own = [each for each in ported if each[0].node == here.node]
    return [each for each in own if each[0].ready] or [each for each in own if each[0].leaving]


def _hinted(ready: Ported, here: Here) -> Ported:
    """A hint counts if every ready endpoint has one, and one of them is for this node; the node's before the zone's."""
    for wanted, given in _ways(ready, here):
        chosen = [each for each, names in zip(ready, given, strict=True) if wanted in names]
        if chosen and all(given):
            return chosen
    return ready


def _ways(ready: Ported, here: Here) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    yield here.node, [endpoint.nodes for endpoint, _ in ready]
    yield here.zone, [endpoint.zones for endpoint, _ in ready]
