"""Compiled policies say of every packet of a small cluster what Kubernetes' own words say of it."""

import itertools
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tests import tiers
from tests.sriov_agent.policies import small_cluster
from tests.sriov_agent.policies.oracle import Json
from tests.sriov_agent.policies.small_cluster import policy

A, B = {"matchLabels": {"pod": "a"}}, {"matchLabels": {"pod": "b"}}
Y = {"matchLabels": {"ns": "y"}}


def expression(operator: str, *values: str, key: str = "pod") -> Json:
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]}


PEERS: dict[str, list[Json] | None] = {
    "missing": None,
    "empty": [],
    "all pods here": [{"podSelector": {}}],
    "one pod here": [{"podSelector": A}],
    "pods of another namespace": [{"namespaceSelector": Y}],
    "all pods anywhere": [{"namespaceSelector": {}}],
    "one pod of another namespace": [{"podSelector": B, "namespaceSelector": Y}],
    "both as two peers": [{"podSelector": B}, {"namespaceSelector": Y}],
    "In": [{"podSelector": expression("In", "a", "c"), "namespaceSelector": {}}],
    "NotIn": [{"podSelector": expression("NotIn", "a"), "namespaceSelector": expression("NotIn", "x", key="ns")}],
    "NotIn of a key that is not there": [{"podSelector": expression("NotIn", "a", key="other")}],
    "Exists": [{"podSelector": expression("Exists")}],
    "Exists of a key that is not there": [{"podSelector": expression("Exists", key="other")}],
    "DoesNotExist": [{"podSelector": expression("DoesNotExist"), "namespaceSelector": {}}],
    "DoesNotExist of a key that is not there": [{"podSelector": expression("DoesNotExist", key="other")}],
    "a block": [{"ipBlock": {"cidr": "10.0.1.0/24"}}],
    "a block of one": [{"ipBlock": {"cidr": "10.0.1.4/32"}}],
    "a block with exceptions": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/24", "192.0.2.128/25"]}}],
    "exceptions of one block are not another's": [
        {"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.1.0/24"]}}, {"ipBlock": {"cidr": "10.0.1.4/31"}},
    ],
    "an exception that is everything": [{"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.0.0/16"]}}],
    "overlapping exceptions": [{"ipBlock": {"cidr": "10.0.0.0/22", "except": ["10.0.0.0/23", "10.0.0.2/31"]}}],
    "IPv6": [{"ipBlock": {"cidr": "fd00::/64", "except": ["fd00::4/126"]}}],
    "a block and pods": [{"ipBlock": {"cidr": "192.0.2.0/24"}}, {"podSelector": A, "namespaceSelector": Y}],
}  # fmt: skip
PORTS: dict[str, list[Json] | None] = {
    "missing": None,
    "empty": [],
    "a number": [{"port": 80}],
    "a number and its protocol": [{"port": 81, "protocol": "UDP"}],
    "a protocol": [{"protocol": "SCTP"}],
    "a span": [{"port": 79, "endPort": 80}],
    "the whole span": [{"port": 1, "endPort": 65535, "protocol": "UDP"}],
    "a name": [{"port": "serve-80-tcp"}],
    "a name of another protocol": [{"port": "serve-80-udp"}],
    "a name that nobody has": [{"port": "nothing"}],
    "a name and a number": [{"port": "serve-80-tcp"}, {"port": 81, "protocol": "SCTP"}],
}


def rule(direction: str, peers: list[Json] | None, ports: list[Json] | None) -> Json:
    said = {"from" if direction == "ingress" else "to": peers, "ports": ports}
    return {key: value for key, value in said.items() if value is not None}


def agree(*policies: Json) -> None:
    made, complaints = small_cluster.compile_all(list(policies))
    assert complaints == []
    assert small_cluster.differences(made, list(policies)) == []


@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("ports", PORTS)
@pytest.mark.parametrize("peers", PEERS)
def test_peers_and_ports(peers: str, ports: str, direction: str) -> None:
    one = rule(direction, PEERS[peers], PORTS[ports])
    spec: Json = {"podSelector": A, "policyTypes": [direction.title()], direction: [one]}
    agree(policy(**spec))


KINDS = (
    "all pods here", "one pod here", "all pods anywhere", "pods of another namespace", "one pod of another namespace",
    "NotIn", "Exists", "a block", "a block with exceptions", "IPv6",
)  # fmt: skip


@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(KINDS, 2)))
def test_two_kinds_of_peers(one: str, other: str, direction: str) -> None:
    """In one rule, and in two of which the second is for another port."""
    both = [*(PEERS[one] or ()), *(PEERS[other] or ())]
    together = rule(direction, both, PORTS["a number"])
    apart = [
        rule(direction, PEERS[one], PORTS["a number"]),
        rule(direction, PEERS[other], PORTS["a number and its protocol"]),
    ]
    for rules in ([together], apart):
        spec: Json = {"podSelector": A, "policyTypes": [direction.title()], direction: rules}
        agree(policy(**spec))


SPECS: dict[str, list[Json]] = {
    "no policy": [],
    "nothing but a selector isolates ingress": [policy()],
    "an empty ingress isolates": [policy(ingress=[])],
    "an empty rule opens": [policy(ingress=[{}])],
    "egress without policyTypes isolates both": [policy(egress=[{}])],
    "an empty egress without policyTypes isolates ingress alone": [policy(egress=[])],
    "policyTypes says egress, ingress is left alone": [policy(policyTypes=["Egress"], ingress=[{"from": []}])],
    "both types, nothing passes": [policy(policyTypes=["Ingress", "Egress"])],
    "rules of a type that is not named are none": [policy(policyTypes=["Ingress"], egress=[{}])],
    "two policies add up": [
        policy(name="one", ingress=[{"from": [{"podSelector": A}]}]),
        policy(name="two", ingress=[{"from": [{"namespaceSelector": Y}], "ports": [{"port": 81}]}]),
    ],
    "one policy opens what the other does not": [
        policy(name="deny"), policy(name="allow", podSelector=B, ingress=[{}]),
    ],
    "a policy of another namespace": [policy("y", podSelector=B), policy("z", egress=[{"to": [{"podSelector": A}]}])],
    "two rules": [policy(ingress=[{"ports": [{"port": 80}]}, {"from": [{"podSelector": B}]}])],
    "a selector that takes nobody": [policy(podSelector={"matchLabels": {"pod": "d"}})],
    "a selector of several terms": [
        policy(podSelector={**A, **expression("NotIn", "a")})
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", SPECS)
def test_which_pods_are_isolated(case: str) -> None:
    agree(*SPECS[case])


LABELS = st.sampled_from(["pod", "ns", "other"])
VALUES = st.lists(st.sampled_from(["a", "b", "x", "y"]), min_size=1, max_size=2)
TERMS = st.one_of(
    st.builds(
        lambda key, operator, values: {"key": key, "operator": operator, "values": values},
        LABELS, st.sampled_from(["In", "NotIn"]), VALUES,
    ),
    st.builds(
        lambda key, operator: {"key": key, "operator": operator}, LABELS, st.sampled_from(["Exists", "DoesNotExist"])
    ),
)  # fmt: skip
SELECTORS = st.one_of(
    st.just({}),
    st.builds(lambda value: {"matchLabels": {"pod": value}}, st.sampled_from("abc")),
    st.builds(lambda terms: {"matchExpressions": terms}, st.lists(TERMS, max_size=2)),
)
NETWORKS = st.sampled_from(["10.0.0.0/16", "10.0.1.0/24", "10.0.1.4/30", "192.0.2.0/24", "fd00::/125"])
BLOCKS = st.builds(
    lambda cidr, holes: {"ipBlock": {"cidr": cidr, "except": [one for one in holes if (":" in one) == (":" in cidr)]}},
    NETWORKS, st.lists(st.sampled_from(["10.0.1.0/28", "10.0.2.0/23", "10.0.1.5/32", "192.0.2.1/32", "fd00::2/127"])),
)  # fmt: skip
PEER = st.one_of(
    BLOCKS,
    st.builds(lambda pod: {"podSelector": pod}, SELECTORS),
    st.builds(lambda where: {"namespaceSelector": where}, SELECTORS),
    st.builds(lambda pod, where: {"podSelector": pod, "namespaceSelector": where}, SELECTORS, SELECTORS),
)
PORT = st.sampled_from([each for ports in PORTS.values() for each in ports or ()])
RULE = st.tuples(st.none() | st.lists(PEER, max_size=2), st.none() | st.lists(PORT, max_size=2))


@st.composite
def some_policies(draw: st.DrawFn) -> list[Json]:
    made = []
    for number in range(draw(st.integers(1, 3))):
        spec: dict[str, Any] = {"podSelector": draw(SELECTORS)}
        for direction in draw(st.lists(st.sampled_from(["ingress", "egress"]), unique=True)):
            spec[direction] = [rule(direction, *each) for each in draw(st.lists(RULE, max_size=2))]
        types = draw(st.none() | st.lists(st.sampled_from(["Ingress", "Egress"]), unique=True))
        made.append(
            policy(
                draw(st.sampled_from("xyz")),
                f"policy{number}",
                **spec,
                **({} if types is None else {"policyTypes": types}),
            )
        )
    return made


@pytest.mark.slow
@hypothesis.settings(max_examples=100_000 if tiers.LONG else 2_000, deadline=None)
@hypothesis.given(some_policies())
def test_any_policies(policies: list[Json]) -> None:
    agree(*policies)
