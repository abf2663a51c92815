"""Reading of a policy: what it selects and lets pass, as far as that does not depend on pods. Pure.

The rules are those of networking.k8s.io/v1 (types.go, NetworkPolicySpec and below), for MultiNetworkPolicy too. What
cannot be read lets nothing pass, and is complained of: a rule that is passed over would be open.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator

import msgspec

from sriov import errors
from sriov.cluster import policies, policy_changes
from sriov.cluster.policies import PolicyDirection
from sriov_agent.policies import networks, objects, pods, selectors

Complain = Callable[[str], None]
CLUSTER = ("",)
_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
"""As the API server has it of a NetworkPolicy (IsValidPortName in apimachinery); it checks no MultiNetworkPolicy's."""


class PortWish(msgspec.Struct, frozen=True, gc=False):
    """`name` is resolved for each receiver; without one, the port's numbers are known."""

    span: policies.PortSpan
    name: str = ""


class PolicyRule(msgspec.Struct, frozen=True):
    """`blocks` and `choices` are the peers; both None: everybody. `ports` None: every packet."""

    blocks: tuple[policies.Span, ...] | None
    choices: tuple[pods.PodChoice, ...] | None
    ports: tuple[PortWish, ...] | None


class ReadPolicy(msgspec.Struct, frozen=True):
    """A policy as far as it does not depend on pods. `networks` are those that it is for: the cluster's own, or others.

    Directions that are not in `rules` are left alone.
    """

    name: str
    subject: pods.PodChoice
    rules: dict[PolicyDirection, tuple[PolicyRule, ...]]
    networks: tuple[str, ...] = CLUSTER


def read(seen: objects.PolicyObject, complain: Complain, *, multi: bool = False) -> ReadPolicy:
    """Read a policy. What is wrong in it selects more pods, or lets nothing pass."""
    namespace, spec = seen.metadata.namespace, seen.spec
    name = f"{namespace}/{seen.metadata.name}"

    def tell(why: object) -> None:
        complain(f"{'Multi' if multi else ''}NetworkPolicy {name}: {why}; what it is about is closed")

    try:
        subject = selectors.read(spec.pod_selector)
    except errors.SriovError as error:
        tell(f"podSelector: {error}")
        subject = ()
    rules = {each: tuple(_rules(each, spec, namespace, tell)) for each in _directions(spec, tell)}
    meant = _networks(seen, complain) if multi else CLUSTER
    return ReadPolicy(name, pods.PodChoice(namespace, subject), rules, meant)


def _networks(seen: objects.PolicyObject, complain: Complain) -> tuple[str, ...]:
    """Return the networks that a MultiNetworkPolicy is for. What is no name of one is left out: no pod is in it."""
    named = networks.listed(seen.metadata.annotations.policy_for, seen.metadata.namespace)
    found = tuple(each for each in named if policy_changes.is_qualified(each))
    if not found or found != named:
        wrong = next((each for each in named if each not in found), "")
        complain(
            f"MultiNetworkPolicy {'/'.join(seen.metadata.key)}: its annotation k8s.v1.cni.cncf.io/policy-for names"
            f" no network{f' by {wrong[:80]!r}' if wrong else ''}"
        )
    return found


def _directions(spec: objects.PolicySpec, tell: Complain) -> tuple[PolicyDirection, ...]:
    """Without policyTypes a policy is for ingress, and for egress if it has such rules (types.go, PolicyTypes)."""
    if not spec.policy_types:
        return (PolicyDirection.INGRESS, PolicyDirection.EGRESS) if spec.egress else (PolicyDirection.INGRESS,)
    known = {each.name.title(): each for each in PolicyDirection}
    unknown = [each for each in spec.policy_types if each not in known]
    if unknown:
        tell(f"policyTypes {unknown[0]!r} is neither Ingress nor Egress")
        return (PolicyDirection.INGRESS, PolicyDirection.EGRESS)
    return tuple(dict.fromkeys(known[each] for each in spec.policy_types))


def _rules(
    direction: PolicyDirection, spec: objects.PolicySpec, namespace: str, tell: Complain
) -> Iterator[PolicyRule]:
    told: tuple[objects.IngressRule | objects.EgressRule, ...] | None = spec.egress
    if direction is PolicyDirection.INGRESS:
        told = spec.ingress
    for number, rule in enumerate(told or ()):
        try:
            yield _rule(rule, namespace)
        except errors.SriovError as error:
            tell(f"{direction}[{number}]: {error}")


def _rule(rule: objects.IngressRule | objects.EgressRule, namespace: str) -> PolicyRule:
    ports = tuple(map(_port, rule.ports)) if rule.ports else None
    if not rule.peers:
        return PolicyRule(None, None, ports)
    blocks: list[policies.Span] = []
    choices: list[pods.PodChoice] = []
    for peer in rule.peers:
        if peer.ip_block is not None:
            if peer.pod_selector is not None or peer.namespace_selector is not None:
                raise errors.SriovError("a peer with ipBlock and a selector", "write two peers")
            blocks += _block(peer.ip_block)
        else:
            choices.append(_choice(peer, namespace))
    return PolicyRule(tuple(blocks), tuple(choices), ports)


def _choice(peer: objects.Peer, namespace: str) -> pods.PodChoice:
    """Without a namespaceSelector the pods are of the policy's own namespace."""
    if peer.pod_selector is None and peer.namespace_selector is None:
        raise errors.SriovError("a peer without ipBlock and selectors", "write {} for one of both")
    meant = () if peer.pod_selector is None else selectors.read(peer.pod_selector)
    where = namespace if peer.namespace_selector is None else selectors.read(peer.namespace_selector)
    return pods.PodChoice(where, meant)


def _block(block: objects.IpBlock) -> tuple[policies.Span, ...]:
    try:
        whole = ipaddress.ip_network(block.cidr, strict=False)
        holes = [ipaddress.ip_network(each, strict=False) for each in block.exceptions or ()]
    except ValueError as error:
        raise errors.SriovError(f"ipBlock: {error}", "write networks such as 10.0.0.0/8") from error
    return policies.without(policies.network_span(whole), map(policies.network_span, holes))


def _port(told: objects.PolicyPort) -> PortWish:
    try:
        transport = policies.Transport(told.protocol or "TCP")
    except ValueError:
        raise errors.SriovError(f"protocol {told.protocol!r}", "write TCP, UDP or SCTP") from None
    if isinstance(told.port, str):
        if not _PORT_NAME.fullmatch(told.port):
            raise errors.SriovError(
                f"port {told.port[:80]!r} is no port's name", "write a number, or leave port out for all"
            )
        if told.end_port is not None:
            raise errors.SriovError(f"port {told.port!r} has an endPort", "write the port's number")
        return PortWish(policies.PortSpan(transport), told.port)
    if told.port is None:
        if told.end_port is not None:
            raise errors.SriovError("endPort without port", "write the first port, too")
        return PortWish(policies.PortSpan(transport))
    last = told.port if told.end_port is None else told.end_port
    if not 1 <= told.port <= last <= policies.ALL_PORTS[1]:
        raise errors.SriovError(f"ports {told.port} to {last}", "write two of 1 to 65535, the smaller one first")
    return PortWish(policies.PortSpan(transport, told.port, last))
