"""Verdicts on packets to and from a pod: may one pass, and by which policy, by what holds for the pod. Pure."""

import enum
import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

from sriov.cluster import pod_policies, policies
from sriov.cluster.policies import PolicyDirection


class Reason(enum.StrEnum):
    """Why a packet passes or not: a policy lets it, or none of those that select the pod; none selects it; the packet
    is the node's own, by the host link; the network asks for no policies; or the pod's policies are not known."""

    POLICY = "policy"
    ISOLATED = "isolated"
    UNSELECTED = "unselected"
    NODE = "node"
    OFF = "off"
    UNKNOWN = "unknown"


class PacketQuestion(msgspec.Struct, frozen=True):
    """The first packet of a conversation with this peer. `packet` None is one of any port."""

    direction: PolicyDirection
    peer: bytes
    packet: policies.Packet | None = None

    @property
    def peers(self) -> tuple[str, ...]:
        return (address(self.peer),)

    @property
    def ports(self) -> tuple[str, ...] | None:
        """Return what was asked for, as text; None for any."""
        if self.packet is None:
            return None
        return ("no port" if self.packet.transport is None else f"{self.packet.transport} {self.packet.port}",)


class PacketVerdict(msgspec.Struct, frozen=True):
    """Packets of one direction, which may pass or not. `peers` and `ports` are text; None are all, or all others.

    `names` are the policies that let them pass or, if they may not, all that select the pod; `passes` None: unknown.
    """

    direction: PolicyDirection
    peers: tuple[str, ...] | None
    ports: tuple[str, ...] | None
    passes: bool | None
    reason: Reason
    names: tuple[str, ...] = ()


def everything(policy: pod_policies.PodPolicy, scope: pod_policies.Scope) -> Iterator[PacketVerdict]:
    """Yield what may pass; last, for each direction, what becomes of all else."""
    for direction in PolicyDirection:
        grants = policy.of(direction)
        if grants is None:
            yield PacketVerdict(direction, None, None, True, Reason.UNSELECTED)
            continue
        if scope.host_link and scope.nodes:
            yield PacketVerdict(direction, scope.nodes, None, True, Reason.NODE)
        for grant in grants:
            for opening in grant.openings:
                yield PacketVerdict(
                    direction, _peers(opening, policy.sets), _ports(opening.ports), True, Reason.POLICY, (grant.policy,)
                )
        yield PacketVerdict(direction, None, None, False, Reason.ISOLATED, _names(grants))


def judged(
    policy: pod_policies.PodPolicy, scope: pod_policies.Scope, question: PacketQuestion
) -> Iterator[PacketVerdict]:
    """Yield the answer: one, or, to a question about any port, one for each policy that lets some pass."""
    direction, peers, ports = question.direction, question.peers, question.ports
    grants = policy.of(direction)
    if grants is None:
        yield PacketVerdict(direction, peers, ports, True, Reason.UNSELECTED)
    elif scope.host_link and peers[0] in map(_plain, scope.nodes):
        yield PacketVerdict(direction, peers, ports, True, Reason.NODE)
    elif found := _passing(grants, policy.sets, question):
        if ports is not None:
            yield PacketVerdict(direction, peers, ports, True, Reason.POLICY, _names(found))
            return
        for grant in found:
            opened = [None if each.ports is None else _ports(each.ports) for each in grant.openings]
            listed = None if None in opened else tuple(dict.fromkeys(text for each in opened for text in each or ()))
            yield PacketVerdict(direction, peers, listed, True, Reason.POLICY, (grant.policy,))
    else:
        yield PacketVerdict(direction, peers, ports, False, Reason.ISOLATED, _names(grants))


def _passing(
    grants: Iterable[policies.Grant], sets: policies.AddressSets, question: PacketQuestion
) -> tuple[policies.Grant, ...]:
    """Return the grants with those of their openings that let it pass."""
    found = (
        msgspec.structs.replace(grant, openings=tuple(each for each in grant.openings if _opens(each, sets, question)))
        for grant in grants
    )
    return tuple(each for each in found if each.openings)


def _opens(opening: policies.Opening, sets: policies.AddressSets, question: PacketQuestion) -> bool:
    packet = question.packet
    if packet is None:  # some port is enough
        packet, opening = policies.Packet(question.peer), msgspec.structs.replace(opening, ports=None)
    return bool(policies.passing((policies.Grant("", (opening,)),), sets, packet))


def _names(grants: Iterable[policies.Grant]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.policy for each in grants))


def _peers(opening: policies.Opening, sets: policies.AddressSets) -> tuple[str, ...] | None:
    if set(policies.EVERYWHERE) <= {*opening.blocks}:
        return None
    members = sorted({each for name in opening.sets for each in sets[name]}, key=lambda each: (len(each), each))
    return (*map(address, members), *(text for each in opening.blocks for text in _block(each)))


def _block(span: policies.Span) -> Iterator[str]:
    first, last = ipaddress.ip_address(span.first), ipaddress.ip_address(span.last)
    networks = [*ipaddress.summarize_address_range(first, last)]
    if len(networks) > 1:
        yield f"{first}-{last}"
    else:
        yield str(first) if first == last else str(networks[0])


def _ports(spans: tuple[policies.PortSpan, ...] | None) -> tuple[str, ...] | None:
    return None if spans is None else tuple(map(_span, spans))


def _span(span: policies.PortSpan) -> str:
    if (span.first, span.last) == policies.ALL_PORTS:
        return str(span.transport)
    return f"{span.transport} {span.first}" + (f"-{span.last}" if span.last != span.first else "")


def address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def _plain(text: str) -> str:
    return str(ipaddress.ip_address(text))
