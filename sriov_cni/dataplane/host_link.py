"""Plan of a host link: a veth pair between a pod on a VF and its node. Pure.

The pod reaches its node's own addresses and what is behind the node through it, and the node the pod. Neither end has
an address: the pod sends from its VF's addresses, the node from its own. All neighbours are permanent, so nobody asks
for a MAC, and nothing in the pod can answer in the host's place. Packets that come in by the host are marked in the
pod, and a TCP connection keeps the mark of its first packet: its answers go back by the host, whatever the
VF's routes are.
"""

import hashlib
import ipaddress
import itertools
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from sriov import errors
from sriov.linux import kernel
from sriov.state import ledger
from sriov_cni.spec import host_links

PREFIX = "svl"
"""Names of links in the host begin with it; the masquerading rule goes by it."""
TABLE_NAME = "sriov-underlay"
TABLE = f"inet {TABLE_NAME}"
"""The table of nftables, in the host and in a pod, that nobody else writes."""
NEXT_HOPS = {4: ipaddress.ip_address("169.254.1.1"), 6: ipaddress.ip_address("fe80::1")}
"""The host, as the pod's routes name it: no interface has these addresses, only the pod's neighbours."""
MARK = ROUTING_TABLE = PRIORITY = 0x5352
"""Of packets that came in by the host: the mark, the pod's routing table for it, and its rule's place."""
_NAME_LENGTH = 15  # IFNAMSIZ less the NUL
_HOST_MAC, _POD_MAC = "02:73:68", "02:73:70"  # locally administered
_ANYWHERE = {4: kernel.EVERYWHERE_4, 6: kernel.EVERYWHERE_6}


class Side(msgspec.Struct, frozen=True):
    """What one end of the pair gets, and its namespace: sysctls below /proc/sys/net."""

    neighbours: tuple[kernel.Neighbour, ...]
    routes: tuple[kernel.Route, ...]
    rules: tuple[kernel.MarkRule, ...]
    sysctls: Mapping[str, str]


class LinkPlan(msgspec.Struct, frozen=True):
    """The link, what both of its sides get, and nft's commands for the pod."""

    link: ledger.HostLink
    host: Side
    pod: Side
    marking: str


def link(
    container_id: str,
    ifname: str,
    wish: host_links.HostLinkWish,
    nodes: Iterable[kernel.IpAddress],
    ranges: Sequence[str] = (),
) -> ledger.HostLink:
    """Return the link of one attachment: the same names and MACs whenever it is asked for.

    `ranges` are the cluster's service ranges, which only a pod that reaches Services by the host gets.
    """
    digest = hashlib.sha256(f"{container_id}\0{ifname}".encode()).digest()
    own = digest[-3:].hex(":")
    return ledger.HostLink(
        name=(PREFIX + digest.hex())[:_NAME_LENGTH],
        address=f"{_HOST_MAC}:{own}",
        inside=wish.name,
        inside_address=f"{_POD_MAC}:{own}",
        nodes=tuple(dict.fromkeys(map(str, nodes))),
        via=tuple(map(str, wish.via)),
        ranges=tuple(ranges) if wish.services else (),
    )


def not_the_nodes(links: Iterable[kernel.Link]) -> frozenset[int]:
    """Return the links whose addresses are not the node's own: dummies.

    There kube-proxy (IPVS) has all addresses of Services, and a node-local DNS its own: `viaHost` can name them.
    """
    return frozenset(each.index for each in links if each.kind == "dummy")


def refuse_taken(link: ledger.HostLink, here: Iterable[kernel.Link], pod: Iterable[kernel.Link]) -> None:
    """Raise an error that names it if a link in the host or in the pod has a name that the pair would get."""
    for each in here:
        if link.name in (each.name, *each.altnames):
            raise errors.SettingError(
                f"hostLink: the node has an interface {link.name} already (link {each.index}, {each.address})",
                f"nobody but this plugin gives such names: ip link delete {link.name}",
            )
    for each in pod:
        if link.inside in (each.name, *each.altnames):
            raise errors.SettingError(
                f"hostLink {link.inside!r}: the pod has an interface of this name already (link {each.index}, "
                f"{each.address})",
                'name another, as in "hostLink": "host1"',
            )
        if each.kind == "veth" and each.address.startswith(_POD_MAC):
            raise errors.SettingError(
                f"hostLink {link.inside!r}: the pod has a host link already, {each.name}",
                "leave hostLink out of all but one of the pod's networks",
            )


def destinations(link: ledger.HostLink, versions: Iterable[int]) -> tuple[kernel.IpNetwork, ...]:
    """Return where the pod's routes over the link lead, of these IP versions."""
    every = [ipaddress.ip_network(each) for each in (*link.nodes, *link.beyond)]
    return tuple(dict.fromkeys(each for each in every if each.version in set(versions)))


def versions(link: ledger.HostLink, addresses: Iterable[kernel.IpInterface]) -> frozenset[int]:
    """Return the IP versions that both the pod and its node have."""
    return frozenset(each.version for each in addresses) & {ipaddress.ip_address(each).version for each in link.nodes}


def plan(
    link: ledger.HostLink,
    addresses: Sequence[kernel.IpInterface],
    sources: Mapping[kernel.IpAddress, kernel.IpAddress | None],
    pending: Iterable[kernel.IpInterface] = (),
) -> LinkPlan:
    """Plan for a pod whose VF has these addresses; those that are `pending` cannot be named as a source yet.

    `sources` is from where the node would send to each. Raises SettingError for what the routes cannot be made for.
    """
    both = versions(link, addresses)
    _check(link, addresses, both)
    usable = [each for each in addresses if each not in set(pending)]
    own = {each.version: each.ip for each in reversed(usable)}
    pods = [each.ip for each in addresses if each.version in both]
    host = Side(
        tuple(kernel.Neighbour(each, link.inside_address) for each in pods),
        tuple(_to_pod(link, each, sources.get(each)) for each in pods),
        (),
        {f"ipv4/conf/{link.name}/rp_filter": "1"},
    )
    families = sorted(both)
    pod = Side(
        tuple(kernel.Neighbour(NEXT_HOPS[each], link.address) for each in families),
        (
            *(_to_host(dst, own.get(dst.version)) for dst in destinations(link, both)),
            *(_to_host(_ANYWHERE[each], None, ROUTING_TABLE) for each in families),
        ),
        tuple(kernel.MarkRule(each, MARK, ROUTING_TABLE, PRIORITY) for each in families),
        _sysctls(link.inside, both),
    )
    return LinkPlan(link, host, pod, _marking(link.inside))


def _check(link: ledger.HostLink, addresses: Sequence[kernel.IpInterface], both: frozenset[int]) -> None:
    if not both:
        raise errors.SettingError(
            f"hostLink: the node has no address of the pod's IP version, and the pod has {_named(addresses)}",
            "give the pod an address of the node's version, or leave hostLink out",
        )
    for via in map(ipaddress.ip_network, link.via):
        if via.version not in both:
            raise errors.SettingError(
                f"viaHost {via}: pod and node do not both have an IPv{via.version} address",
                "leave it out, or give both such an address",
            )

    for key, networks in (("viaHost", link.via), ("service range", link.ranges)):
        for network, address in itertools.product(map(ipaddress.ip_network, networks), addresses):
            if address.version == network.version and network.overlaps(address.network):
                raise errors.SettingError(
                    f"{key} {network} overlaps {address.network}, the VF's own network",
                    "let only networks go by the host that the pod does not reach by its VF",
                )


def _named(addresses: Sequence[kernel.IpInterface]) -> str:
    return ", ".join(map(str, addresses)) or "none"


def _to_pod(link: ledger.HostLink, pod: kernel.IpAddress, source: kernel.IpAddress | None) -> kernel.Route:
    """Return the node's route; its source is the node's own address, the one that it would use if it is one of them."""
    own = [each for each in map(ipaddress.ip_address, link.nodes) if each.version == pod.version]
    return kernel.Route(ipaddress.ip_network(pod), source=source if source in own else own[0])


def _to_host(dst: kernel.IpNetwork, source: kernel.IpAddress | None, table: int | None = None) -> kernel.Route:
    return kernel.Route(dst, NEXT_HOPS[dst.version], table=table, source=source, onlink=True)


def _sysctls(name: str, both: frozenset[int]) -> dict[str, str]:
    """A connection keeps its first packet's mark, as does a refusal; the check of the way back (rp_filter) goes by it.

    Source: Documentation/networking/ip-sysctl.rst. `tcp_fwmark_accept` is for both versions.
    """
    wanted = {"ipv4/tcp_fwmark_accept": "1"}
    if 4 in both:
        wanted |= {"ipv4/fwmark_reflect": "1", f"ipv4/conf/{name}/src_valid_mark": "1"}
    return wanted | ({"ipv6/fwmark_reflect": "1"} if 6 in both else {})


def _marking(name: str) -> str:
    return "\n".join(
        (
            f"add table {TABLE}",
            f"add chain {TABLE} marking {{ type filter hook prerouting priority mangle; }}",
            f"flush chain {TABLE} marking",
            f'add rule {TABLE} marking iifname "{name}" meta mark set {MARK:#x}',
        )
    )
