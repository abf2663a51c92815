"""Grants of a policy: its peers become sets of addresses, its named ports numbers. Pure.

A name of ingress is a port of the pod that the policy selects; one of egress is each receiver's own.
"""

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from sriov.cluster import policies
from sriov.cluster.policies import PolicyDirection
from sriov_agent.policies import pods
from sriov_agent.policies.reading import PolicyRule, ReadPolicy

_EVERYONE = pods.PodChoice((), ())
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class AddressSet(msgspec.Struct, frozen=True):
    """Addresses of these pods in these networks. With `port`, only of pods that have it; with `within`, only there."""

    choice: pods.PodChoice
    networks: tuple[str, ...]
    port: pods.NamedPort | None = None
    within: tuple[policies.Span, ...] | None = None

    @property
    def name(self) -> str:
        """Return the same name for the same set, whenever and by whomever it is asked for."""
        return hashlib.sha256(_encode(self)).hexdigest()[:16]

    def addresses(self, population: pods.Population) -> frozenset[bytes]:
        return frozenset(
            address
            for pod in population.chosen(self.choice)
            if self.port is None or self.port in pod.ports
            for network in self.networks
            for address in pod.addresses.get(network, ())
            if self.within is None or policies.is_within(address, self.within)
        )


def variant(policy: ReadPolicy, direction: PolicyDirection, subject: pods.PodFacts) -> tuple[pods.NamedPort, ...]:
    """Return the pod's ports that the grant depends on: pods with the same share it."""
    if direction is PolicyDirection.EGRESS:
        return ()
    named = {(port.name, port.span.transport) for rule in policy.rules[direction] for port in rule.ports or ()}
    return tuple(sorted(each for each in subject.ports if (each.name, each.transport) in named))


Sets = dict[str, AddressSet]
"""The sets that grants name, by name."""


def grant(
    policy: ReadPolicy,
    direction: PolicyDirection,
    own: Iterable[pods.NamedPort],
    population: pods.Population,
    sets: Sets,
) -> policies.Grant:
    """Return what the policy lets pass, and add the sets that it names. `own` are the subject's ports (`variant`)."""
    make = _ingress if direction is PolicyDirection.INGRESS else _egress
    openings = [each for rule in policy.rules[direction] for each in make(rule, policy, own, population, sets)]
    return policies.Grant(policy.name, tuple(openings))


def _ingress(
    rule: PolicyRule, policy: ReadPolicy, own: Iterable[pods.NamedPort], _population: pods.Population, sets: Sets
) -> Iterator[policies.Opening]:
    """Named ports are the subject's own."""
    known = [each.span for each in rule.ports or () if not each.name]
    known += [_span(each) for each in own if _is_named(each, rule)]
    if rule.ports is None or known:
        yield _opening(rule, policy, sets, None if rule.ports is None else tuple(known))


def _egress(
    rule: PolicyRule, policy: ReadPolicy, _own: Iterable[pods.NamedPort], population: pods.Population, sets: Sets
) -> Iterator[policies.Opening]:
    """Named ports are those of each receiver, so that only pods have them."""
    known = tuple(each.span for each in rule.ports or () if not each.name)
    if rule.ports is None or known:
        yield _opening(rule, policy, sets, known or None)
    for choice, within in _receivers(rule):
        found = {each for pod in population.chosen(choice) for each in pod.ports if _is_named(each, rule)}
        for port in sorted(found):
            name = _named(AddressSet(choice, policy.networks, port, within), sets)
            yield policies.Opening((name,), (), (_span(port),))


def _receivers(rule: PolicyRule) -> Iterator[tuple[pods.PodChoice, tuple[policies.Span, ...] | None]]:
    """Yield the pods that may have the rule's named ports; of a block, those with an address there."""
    if not any(port.name for port in rule.ports or ()):
        return
    if rule.blocks is None or rule.choices is None:
        yield _EVERYONE, None
        return
    yield from ((choice, None) for choice in rule.choices)
    if rule.blocks:
        yield _EVERYONE, policies.united(rule.blocks)


def _is_named(port: pods.NamedPort, rule: PolicyRule) -> bool:
    return any((each.name, each.span.transport) == (port.name, port.transport) for each in rule.ports or ())


def _opening(
    rule: PolicyRule, policy: ReadPolicy, sets: Sets, ports: tuple[policies.PortSpan, ...] | None
) -> policies.Opening:
    if rule.blocks is None or rule.choices is None:
        return policies.Opening((), policies.EVERYWHERE, ports)
    names = (_named(AddressSet(choice, policy.networks), sets) for choice in rule.choices)
    return policies.Opening(tuple(dict.fromkeys(names)), policies.united(rule.blocks), ports)


def _named(wanted: AddressSet, sets: Sets) -> str:
    name = wanted.name
    sets[name] = wanted
    return name


def _span(port: pods.NamedPort) -> policies.PortSpan:
    return policies.PortSpan(port.transport, port.number, port.number)


def receivers(policy: ReadPolicy) -> Iterator[pods.PodChoice]:
    """Yield the choices of pods whose ports the grant of egress depends on: those of rules with a named port."""
    for rule in policy.rules.get(PolicyDirection.EGRESS, ()):
        yield from (choice for choice, _ in _receivers(rule))
