"""What Kubernetes' own test of network policies asks for, step by step: what passes is said here, not worked out.

Restated from the cases of kubernetes/test/e2e/network/netpol/network_policy.go (master, 2026), with all nine pods of
the small cluster in each and, where upstream has no other protocol in mind, with TCP, UDP and SCTP. A connection passes
if the client's egress and the server's ingress let it. After each step the naive evaluator is asked, too.
"""

import copy
import fnmatch
import itertools
from typing import Any, NamedTuple

import pytest

from sriov_agent.policies import view
from tests.sriov_agent.policies import oracle, small_cluster, test_policy_view, test_truth_table
from tests.sriov_agent.policies.oracle import Json
from tests.sriov_agent.policies.small_cluster import LETTERS, NAMES, PROTOCOLS, policy

A, B, Y = test_truth_table.A, test_truth_table.B, test_truth_table.Y
X: Json = {"matchLabels": {"ns": "x"}}
NOT_X: Json = {"matchExpressions": [{"key": "ns", "operator": "NotIn", "values": ["x"]}]}
ANY: Json = {}
ANYBODY: Json = {"podSelector": ANY, "namespaceSelector": ANY}
IN_Y: Json = {"namespaceSelector": test_truth_table.expression("In", "y", key="ns")}
NOT_IN_Y: Json = {"namespaceSelector": test_truth_table.expression("NotIn", "y", key="ns")}
CLOSED_BOTH: Json = {"policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []}


class Verdict(NamedTuple):
    """`client` and `server` are patterns of "namespace/name"; of several that match, the last one counts."""

    client: str
    server: str
    passes: bool


def yes(client: str, server: str) -> Verdict:
    return Verdict(client, server, passes=True)


def no(client: str, server: str) -> Verdict:
    return Verdict(client, server, passes=False)


class Step(NamedTuple):
    """What happens, and which connections pass then; those that no verdict matches do."""

    events: list[tuple[str, Json]]
    verdicts: list[Verdict]
    ports: tuple[int, ...] = (80,)
    protocols: tuple[str, ...] = PROTOCOLS


def put(*policies: Json) -> list[tuple[str, Json]]:
    return [("policies", each) for each in policies]


def deleted(name: str) -> list[tuple[str, Json]]:
    return [("deleted", policy(name=name))]


def namespace(name: str, **labels: str) -> list[tuple[str, Json]]:
    return [("namespaces", {"metadata": {"name": name, "labels": {"ns": name, **labels}}})]


def pod(place: str, **labels: str) -> list[tuple[str, Json]]:
    [found] = [each for each in PODS if small_cluster.name(each) == place]
    changed = copy.deepcopy(found)
    changed["metadata"]["labels"] |= labels
    return [("pods", changed)]


def gone(place: str) -> list[tuple[str, Json]]:
    [(kind, found)] = pod(place)
    return [(kind, {**found, "gone": True})]


def straight(each: Json) -> Json:
    """Each port has its own name, as upstream's pods have it."""
    ports = [
        {"name": f"serve-{port}-{protocol.lower()}", "protocol": protocol, "containerPort": port}
        for port, protocol in itertools.product(small_cluster.PORTS, PROTOCOLS)
    ]
    return {**each, "spec": {**each["spec"], "containers": [{"ports": ports}]}}


PODS = [straight(each) for each in small_cluster.PODS]


def target(name: str = "policy", **spec: Any) -> Json:
    return policy(name=name, podSelector=A, **spec)


def sources(*peers: Json, **more: Any) -> list[Json]:
    return [{"from": list(peers), **more}]


def destinations(*peers: Json) -> list[Json]:
    return [{"to": list(peers)}]


def port(number: int | str, protocol: str = "TCP") -> list[Json]:
    return [{"port": number, "protocol": protocol}]


def egress(*rules: Json, **more: Any) -> Json:
    return {"policyTypes": ["Egress"], "egress": list(rules), **more}


CLOSED_TO_A, CLOSED_TO_X = no("*", "x/a"), no("*", "x/*")
FROM_Y_81 = target("port-81", ingress=sources({"namespaceSelector": Y}, ports=port(81)))
FROM_Y_80 = target("port-80", ingress=sources({"namespaceSelector": Y}, ports=port(80)))
ONLY_Y = [CLOSED_TO_A, yes("y/*", "x/a")]
Y_B = ({"ipBlock": {"cidr": "10.0.1.5/32"}}, {"ipBlock": {"cidr": "fd00::5/128"}})
X_B = ({"ipBlock": {"cidr": "10.0.0.2/32"}}, {"ipBlock": {"cidr": "fd00::2/128"}})
AROUND_X_B = (
    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.2/32"]}},
    {"ipBlock": {"cidr": "fd00::/16", "except": ["fd00::2/128"]}},
)
CASES: dict[str, list[Step]] = {
    "default-deny-ingress": [Step(put(policy(ingress=[])), [CLOSED_TO_X])],
    "default-deny-all": [Step(put(policy(**CLOSED_BOTH)), [CLOSED_TO_X, no("x/*", "*")])],
    "pods of the server's namespace, by podSelector": [
        Step(put(target(ingress=sources({"podSelector": B}))), [CLOSED_TO_A, yes("x/b", "x/a")]),
    ],
    "ingress for a target": [
        Step(
            put(policy(name="deny", ingress=[]), target(ingress=sources(ANYBODY))),
            [CLOSED_TO_X, yes("*", "x/a")],
        ),
    ],
    "from pods of all namespaces": [Step(put(target(ingress=sources({"namespaceSelector": ANY}))), [])],
    "from another namespace only": [Step(put(target(ingress=sources({"namespaceSelector": Y}))), ONLY_Y)],
    "podSelector with matchExpressions": [
        Step(
            put(target(ingress=sources({"podSelector": test_truth_table.expression("In", "b")}))),
            [CLOSED_TO_A, yes("x/b", "x/a")],
        ),
    ],
    "namespaceSelector with matchExpressions": [
        Step(
            put(target(ingress=sources(IN_Y))), ONLY_Y
        ),
    ],
    "podSelector or namespaceSelector": [
        Step(
            put(target(ingress=sources({"namespaceSelector": NOT_X}, {"podSelector": B}))),
            [no("x/c", "x/a")],
        ),
    ],
    "podSelector and namespaceSelector": [
        Step(
            put(target(ingress=sources({"namespaceSelector": NOT_X, "podSelector": B}))),
            [CLOSED_TO_A, yes("y/b", "x/a"), yes("z/b", "x/a")],
        ),
    ],
    "several podSelectors and namespaceSelectors": [
        Step(
            put(target(ingress=sources(
                {"namespaceSelector": NOT_X, "podSelector": test_truth_table.expression("In", "b", "c")}
            ))),
            [CLOSED_TO_A, yes("[yz]/[bc]", "x/a")],
        ),
    ],
    "any of the podSelectors": [
        Step(
            put(target(ingress=sources({"podSelector": B}, {"podSelector": {"matchLabels": {"pod": "c"}}}))),
            [CLOSED_TO_A, yes("x/[bc]", "x/a")],
        ),
    ],
    "one pod of another namespace": [
        Step(
            put(target(ingress=sources({"namespaceSelector": Y, "podSelector": A}))), [CLOSED_TO_A, yes("y/a", "x/a")]
        ),
    ],
    "ports": [
        Step(put(FROM_Y_81), ONLY_Y, (81,), ("TCP",)), Step([], [CLOSED_TO_A], (80,)),
        Step([], [CLOSED_TO_A], (81,), ("UDP", "SCTP")),
    ],
    "stacked policies whose podSelectors overlap": [
        Step(put(FROM_Y_81), ONLY_Y, (81,), ("TCP",)), Step([], [CLOSED_TO_A], (80,), ("TCP",)),
        Step(put(FROM_Y_80), ONLY_Y, (80, 81), ("TCP",)),
    ],
    "allow-all": [Step(put(policy(ingress=[{}])), [], (80, 81))],
    "ingress on one named port": [
        Step(put(policy(ingress=[{"ports": [{"port": "serve-81-tcp"}]}])), [], (81,), ("TCP",)),
        Step([], [CLOSED_TO_X], (80,)),
    ],
    "ingress from a namespace on one named port": [
        Step(
            put(target(ingress=sources({"namespaceSelector": Y}, ports=port("serve-80-tcp")))), ONLY_Y, (80,), ("TCP",)
        ),
        Step([], [CLOSED_TO_A], (81,)),
    ],
    "egress on one named port": [
        Step(put(policy(**egress({"ports": [{"port": "serve-80-tcp"}]}))), [], (80,), ("TCP",)),
        Step([], [no("x/*", "*")], (81,)),
    ],
    "an updated policy": [
        Step(put(policy(ingress=[{}])), [], (81,)), Step(put(policy(ingress=[])), [CLOSED_TO_X], (81,)),
    ],
    "an updated namespace": [
        Step(put(target(ingress=sources({"namespaceSelector": {"matchLabels": {"ns2": "new"}}}))), [CLOSED_TO_A]),
        Step(namespace("y", ns2="new"), ONLY_Y), Step(namespace("y"), [CLOSED_TO_A]),
    ],
    "an updated client": [
        Step(
            put(target(ingress=sources({"podSelector": {"matchLabels": {"pod": "b", "pod2": "new"}}}))), [CLOSED_TO_A]
        ),
        Step(pod("x/b", pod2="new"), [CLOSED_TO_A, yes("x/b", "x/a")]), Step(pod("x/b"), [CLOSED_TO_A]),
    ],
    "pods of other namespaces are denied": [
        Step(put(policy(ingress=sources({"podSelector": ANY}))), [no("[yz]/*", "x/*")]),
    ],
    "an updated server": [
        Step(put(policy(podSelector={"matchLabels": {"target": "isolated"}}, ingress=[])), []),
        Step(pod("x/a", target="isolated"), [CLOSED_TO_A]), Step(pod("x/a"), []),
    ],
    "egress denied by podSelector": [Step(put(target(**egress())), [no("x/a", "*")])],
    "egress denied to a namespace's pods": [Step(put(policy(**egress())), [no("x/*", "*")])],
    "ingress and egress together": [
        Step(
            put(target(**egress({"ports": port(80)}, policyTypes=["Egress", "Ingress"]),
                       ingress=sources({"podSelector": B}))),
            [CLOSED_TO_A, yes("x/b", "x/a")], (80,), ("TCP",),
        ),
        Step([], [CLOSED_TO_A, no("x/a", "*"), yes("x/b", "x/a")], (81,)),
    ],
    "egress denied at the client, whatever the server allows": [
        Step(
            put(
                target(**egress(*destinations({"namespaceSelector": Y, "podSelector": A}))),
                policy("y", "to-a", podSelector=A, ingress=sources({"namespaceSelector": X, "podSelector": A})),
                policy("y", "to-b", podSelector=B, ingress=sources({"namespaceSelector": X, "podSelector": A})),
            ),
            [no("x/a", "*"), no("*", "y/[ab]"), yes("x/a", "y/a")],
        ),
    ],
    "egress to one pod of another namespace": [
        Step(
            put(target(**egress(*destinations({"namespaceSelector": Y, "podSelector": A})))),
            [no("x/a", "*"), yes("x/a", "y/a")],
        ),
    ],
    "any port of one protocol": [
        Step(put(target(ingress=[{"ports": [{"protocol": "TCP"}]}])), [], (80, 81), ("TCP",)),
        Step([], [CLOSED_TO_A], (80, 81), ("UDP", "SCTP")),
    ],
    "ingress allow-all comes before what allows less": [
        Step(put(policy(name="port-80", ingress=[{"ports": port(80)}])), [CLOSED_TO_X], (81,)),
        Step(put(policy(name="all", ingress=[{}])), [], (80, 81)),
    ],
    "egress allow-all comes before what allows less": [
        Step(put(policy(name="port-80", **egress({"ports": port(80)}))), [no("x/*", "*")], (81,)),
        Step(put(policy(name="all", **egress({}))), [], (80, 81)),
    ],
    "deleted policies end": [
        Step(put(policy(**CLOSED_BOTH)), [CLOSED_TO_X, no("x/*", "*")]), Step(deleted("policy"), []),
    ],
    "egress to a block": [
        Step(put(target(**egress(*destinations(*Y_B)))), [no("x/a", "*"), yes("x/a", "y/b")]),
    ],
    "egress to a block with an exception": [
        Step(put(target(**egress(*destinations(*AROUND_X_B)))), [no("x/a", "x/b")]),
    ],
    "an address of a block and of an exception": [
        Step(put(target(**egress(*destinations(*AROUND_X_B)))), [no("x/a", "x/b")]),
        Step(put(target(name="more", **egress(*destinations(*X_B)))), []),
        Step(deleted("policy"), [no("x/a", "*"), yes("x/a", "x/b")]),
    ],
    "ingress and egress of one pod are two things": [
        Step(put(target("out", **egress({}))), []), Step(put(target("in", ingress=[])), [CLOSED_TO_A]),
    ],
    "SCTP is not taken for TCP": [
        Step(
            put(policy(name="deny", ingress=[]), target(ingress=[{"ports": port(81, "SCTP")}])), [CLOSED_TO_X], (81,),
            ("TCP", "UDP"),
        ),
        Step([], [CLOSED_TO_X, yes("*", "x/a")], (81,), ("SCTP",)),
    ],
    "a policy for SCTP isolates": [
        Step(put(target(ingress=[{"ports": port(80, "SCTP")}])), [CLOSED_TO_A], (81,)),
    ],
    "UDP is not taken for TCP": [
        Step(put(target(ingress=[{"ports": port(81, "UDP")}])), [CLOSED_TO_A], (81,), ("TCP", "SCTP")),
        Step([], [], (81,), ("UDP",)),
    ],
    "egress by NotIn of a namespace's label": [
        Step(
            put(target(**egress(*destinations(NOT_IN_Y)))),
            [no("x/a", "y/*")],
        ),
    ],
    "UDP ports": [
        Step(
            put(target(ingress=sources({"namespaceSelector": Y}, ports=port(81, "UDP")))), ONLY_Y, (81,), ("UDP",)
        ),
        Step([], [CLOSED_TO_A], (81,), ("TCP", "SCTP")),
    ],
    "SCTP ports": [
        Step(
            put(target(ingress=sources({"namespaceSelector": Y}, ports=port(81, "SCTP")))), ONLY_Y, (81,), ("SCTP",)
        ),
        Step([], [CLOSED_TO_A], (81,), ("TCP", "UDP")),
    ],
    "a client that has gone, and one that comes": [  # policy-assistant's actions
        Step(put(target(ingress=sources({"podSelector": B}))), [CLOSED_TO_A, yes("x/b", "x/a")]),
        Step(gone("x/b"), [CLOSED_TO_A]), Step(pod("x/b"), [CLOSED_TO_A, yes("x/b", "x/a")]),
    ],
    "a server that has gone, and one that comes": [
        Step(put(target(ingress=[])), [CLOSED_TO_A]), Step(gone("x/a"), []), Step(pod("x/a"), [CLOSED_TO_A]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_case(case: str) -> None:
    made, complaints = small_cluster.compile_all([], PODS)
    pods: dict[str, Json] = {small_cluster.name(each): each for each in PODS}
    policies: dict[str, Json] = {}
    spaces: dict[str, Json] = {name: {"metadata": {"name": name, "labels": {"ns": name}}} for name in NAMES}
    for number, step in enumerate(CASES[case]):
        for kind, one in step.events:
            name = small_cluster.name(one) if kind != "namespaces" else one["metadata"]["name"]
            if kind == "deleted":
                made.drop_policy((one["metadata"]["namespace"], one["metadata"]["name"]))
                del policies[name]
                continue
            test_policy_view.tell(made, kind, one)
            kinds = {"policies": policies, "namespaces": spaces, "pods": pods}
            kinds[kind][name] = one
            if one.get("gone"):
                del pods[name]
        made.change()
        world = oracle.World(list(spaces.values()), list(pods.values()), list(policies.values()))
        assert [*_differing(made, world, step, pods)] == [], number
    assert complaints == []


def _differing(made: view.PolicyView, world: oracle.World, step: Step, pods: dict[str, Json]) -> list[tuple[Any, ...]]:
    """The connections of which engine, evaluator and verdicts do not say the same."""
    found = []
    for (client, server), protocol, number in itertools.product(
        itertools.permutations(pods, 2), step.protocols, step.ports
    ):
        one, other, packet = pods[client], pods[server], (protocol, number)
        engine = {
            out and in_
            for out in small_cluster.passes(made, "Egress", one, other, packet)
            for in_ in small_cluster.passes(made, "Ingress", other, one, packet)
        }
        naive = world.passes("Egress", one, other, *packet) and world.passes("Ingress", other, one, *packet)
        said = _said(step.verdicts, client, server)
        if not engine == {said} == {naive}:
            found.append((client, server, packet, "engine", engine, "naive", naive, "said", said))
    return found


def _said(verdicts: list[Verdict], client: str, server: str) -> bool:
    matching = [
        each for each in verdicts if fnmatch.fnmatch(client, each.client) and fnmatch.fnmatch(server, each.server)
    ]
    return matching[-1].passes if matching else True


def test_every_pod_takes_part() -> None:
    assert {small_cluster.name(each) for each in PODS} == {"/".join(each) for each in itertools.product(NAMES, LETTERS)}
