"""Network policies as one node sees them: what may pass to and from each of its pods. Pure.

Everything that Kubernetes says of a policy is decided before this: selectors, named ports, exceptions. What is left are
addresses and ports. A pod that no policy selects for a direction is not in it, and everything passes there.
"""

import collections
import enum
import functools
import ipaddress
from collections.abc import Collection, Iterable, Mapping

import msgspec

ALL_PORTS = (0, 65535)


class PolicyDirection(enum.StrEnum):
    """As seen from the pod."""

    INGRESS = "ingress"
    EGRESS = "egress"


class Transport(enum.StrEnum):
    """Protocols that have ports (core/v1, Protocol)."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class PolicyKind(enum.StrEnum):
    """Kinds of policies, as Kubernetes names them."""

    NETWORK = "NetworkPolicy"
    MULTI = "MultiNetworkPolicy"


class Span(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Addresses from `first` to `last`, both included, in network byte order: four bytes each, or sixteen."""

    first: bytes
    last: bytes


class PortSpan(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Ports from `first` to `last`, both included."""

    transport: Transport
    first: int = ALL_PORTS[0]
    last: int = ALL_PORTS[1]


class Opening(msgspec.Struct, frozen=True, array_like=True):
    """What may pass: with one of these peers, by one of these ports of the receiver. `ports` None is every packet.

    Peers are the addresses of the sets of these names, and `blocks`; with neither, there is none.
    """

    sets: tuple[str, ...] = ()
    blocks: tuple[Span, ...] = ()
    ports: tuple[PortSpan, ...] | None = None


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """What one policy lets pass in one direction; nothing, if it has no opening. `policy` is namespace/name."""

    policy: str
    openings: tuple[Opening, ...] = ()


class Rules(msgspec.Struct, frozen=True, array_like=True):
    """What may pass to and from one pod: names of grants, which it shares with others. None: everything.

    `uid` is that pod's, as its kubelet knows it: another pod may come to have its name. "" is not told.
    """

    ingress: tuple[str, ...] | None = None
    egress: tuple[str, ...] | None = None
    uid: str = ""

    def of(self, direction: PolicyDirection) -> tuple[str, ...] | None:
        return self.ingress if direction is PolicyDirection.INGRESS else self.egress


Place = tuple[str, str, str]
"""Namespace and name of a pod, and its network, as namespace/name; "" is the cluster's own."""


class SetChange(msgspec.Struct, frozen=True, array_like=True):
    """Addresses, packed, that came to a set or left it."""

    new: tuple[bytes, ...] = ()
    gone: tuple[bytes, ...] = ()


class PolicyChange(msgspec.Struct, frozen=True):
    """Sets of addresses by name, grants by name, rules by pod and network: what is new or changed, and what is gone.

    With `whole`, all else is gone too. `kinds` are those of policies that the agent watches; None: the same as before,
    or in a whole table, which is of an older release then, those that every agent watches.
    """

    sets: dict[str, SetChange] = {}
    grants: dict[str, Grant] = {}
    rules: dict[Place, Rules] = {}
    gone_sets: tuple[str, ...] = ()
    gone_grants: tuple[str, ...] = ()
    gone_rules: tuple[Place, ...] = ()
    whole: bool = False
    kinds: tuple[str, ...] | None = None


class Packet(msgspec.Struct, frozen=True):
    """The first packet of a conversation: the address of the pod's peer, and the receiver's port.

    `transport` None is what has no ports, such as ICMP.
    """

    peer: bytes
    transport: Transport | None = None
    port: int = 0


EVERYWHERE = (Span(bytes(4), b"\xff" * 4), Span(bytes(16), b"\xff" * 16))


AddressSets = Mapping[str, Collection[bytes]]


class PolicyTable(msgspec.Struct, frozen=True, dict=True):
    """All that changes add up to. Of other kinds of policies than `kinds` nothing is known."""

    sets: dict[str, frozenset[bytes]] = {}
    grants: dict[str, Grant] = {}
    rules: dict[Place, Rules] = {}
    kinds: frozenset[str] = frozenset({PolicyKind.NETWORK})

    @functools.cached_property
    def by_name(self) -> Mapping[Place, list[Rules]]:
        """Rules of networks besides the cluster's, by the network's name without its namespace."""
        found = collections.defaultdict[Place, list[Rules]](list)
        for (namespace, pod, network), rules in self.rules.items():
            if network:
                found[namespace, pod, network.partition("/")[2]].append(rules)
        return found


def applied(table: PolicyTable, change: PolicyChange) -> PolicyTable:
    """Return the table after the change."""
    if change.whole:
        table = PolicyTable()
    gone_sets, gone_grants = frozenset(change.gone_sets), frozenset(change.gone_grants)
    gone_rules = frozenset(change.gone_rules)
    sets = {name: each for name, each in table.sets.items() if name not in gone_sets}
    for name, each in change.sets.items():
        sets[name] = (sets.get(name, frozenset()) - frozenset(each.gone)) | frozenset(each.new)
    grants = {name: each for name, each in table.grants.items() if name not in gone_grants}
    rules = {place: each for place, each in table.rules.items() if place not in gone_rules}
    kinds = table.kinds if change.kinds is None else frozenset(change.kinds)
    return PolicyTable(sets, grants | change.grants, rules | change.rules, kinds)


def passing(grants: Iterable[Grant], sets: AddressSets, packet: Packet) -> list[str]:
    """Return the policies that let it pass: none, if it may not."""
    return [each.policy for each in grants if any(_fits(opening, sets, packet) for opening in each.openings)]


def _fits(opening: Opening, sets: AddressSets, packet: Packet) -> bool:
    if not is_within(packet.peer, opening.blocks) and not any(packet.peer in sets[name] for name in opening.sets):
        return False
    return opening.ports is None or any(
        each.transport is packet.transport and each.first <= packet.port <= each.last for each in opening.ports
    )


def is_within(address: bytes, spans: Iterable[Span]) -> bool:
    return any(len(each.first) == len(address) and each.first <= address <= each.last for each in spans)


def packed(address: str) -> bytes:
    """Raises ValueError."""
    return ipaddress.ip_address(address).packed


def network_span(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Span:
    return Span(network.network_address.packed, network.broadcast_address.packed)


def united(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the same addresses as few spans, in order, none of which touches another."""
    found: list[Span] = []
    for each in sorted(spans, key=lambda one: (len(one.first), one)):
        if found and _touches(found[-1], each):
            if each.last > found[-1].last:
                found[-1] = Span(found[-1].first, each.last)
        else:
            found.append(each)
    return tuple(found)


def _touches(before: Span, after: Span) -> bool:
    if len(before.first) != len(after.first):
        return False
    return after.first <= before.last or _number(after.first) == _number(before.last) + 1


def without(whole: Span, holes: Iterable[Span]) -> tuple[Span, ...]:
    """Return the addresses of `whole` that are in no hole."""
    size, left, start = len(whole.first), [], _number(whole.first)
    for hole in united(each for each in holes if len(each.first) == size):
        if hole.last < whole.first or hole.first > whole.last:
            continue
        if start < _number(hole.first):
            left.append(Span(start.to_bytes(size, "big"), (_number(hole.first) - 1).to_bytes(size, "big")))
        start = max(start, _number(hole.last) + 1)
    if start <= _number(whole.last):
        left.append(Span(start.to_bytes(size, "big"), whole.last))
    return tuple(left)


def _number(packed: bytes) -> int:
    return int.from_bytes(packed, "big")
