"""Policies as packets: what passes the kernel's rules is what Kubernetes' own words say, for every kind of rule."""

import contextlib
from collections.abc import Iterator

import pytest

from sriov.cluster import pod_policies, policies
from sriov.linux import netlink
from sriov_cni.dataplane.policies import policy_enforcer
from tests.kernel import policy_stage
from tests.sriov_agent.policies import oracle, small_cluster, test_truth_table
from tests.sriov_agent.policies.oracle import Json

pytestmark = pytest.mark.root
SUBJECT = small_cluster.PODS[0]
OWN = tuple(oracle.addresses(SUBJECT))
PEERS: dict[str, Json | str] = {
    **{
        each: {**pod, "status": {"podIPs": [{"ip": each}]}}
        for pod in small_cluster.PODS[1:]
        for each in oracle.addresses(pod)
    },
    **{each: each for each in small_cluster.STRANGERS},
}
"""By address: a packet has one, and a block is of addresses."""
PACKETS = [(peer, protocol, port) for peer in PEERS for protocol in small_cluster.PROTOCOLS for port in (80, 81)]
PORTS = ("missing", "a number and its protocol", "a protocol", "a span", "a name", "a name and a number")


@pytest.fixture
def stage() -> Iterator[policy_stage.Stage]:
    with policy_stage.staged(OWN, PEERS) as made:
        yield made


def in_force(stage: policy_stage.Stage, *said: Json) -> policy_enforcer.Enforcer:
    """The policies as the agent compiles them, in the pod's namespace."""
    view, complaints = small_cluster.compile_all(list(said))
    assert complaints == []
    table = policies.PolicyTable(view.sets, view.grants, view.rules)
    found = pod_policies.of(table, "x", "a", "")
    assert found is not None
    scope = pod_policies.Scope("net1")
    holding = pod_policies.PolicedPod(("x", "a", ""), scope, stage.pod.path, stage.pod.handle.identity)
    enforcer = policy_enforcer.Enforcer(lambda: contextlib.closing(netlink.Netlink()))
    with contextlib.closing(netlink.Netlink()) as net, net.inside(stage.pod.handle) as inner:
        enforcer.hold(inner, holding, found)
    return enforcer


def wanted(direction: str, *said: Json) -> set[policy_stage.Packet]:
    world = oracle.World(small_cluster.NAMESPACES, small_cluster.PODS, said)
    return {each for each in PACKETS if world.passes(direction, SUBJECT, PEERS[each[0]], each[1], each[2])}


def agree(stage: policy_stage.Stage, *said: Json) -> None:
    in_force(stage, *said)
    for direction in ("Ingress", "Egress"):
        arrived = stage.arriving(PACKETS, ingress=direction == "Ingress")
        assert arrived == wanted(direction, *said), direction


@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("ports", PORTS)
@pytest.mark.parametrize("peers", test_truth_table.PEERS)
def test_peers_and_ports(stage: policy_stage.Stage, peers: str, ports: str, direction: str) -> None:
    one = test_truth_table.rule(direction, test_truth_table.PEERS[peers], test_truth_table.PORTS[ports])
    spec: Json = {"podSelector": test_truth_table.A, "policyTypes": [direction.title()], direction: [one]}
    agree(stage, small_cluster.policy(**spec))


@pytest.mark.parametrize("case", test_truth_table.SPECS)
def test_which_pods_are_isolated(stage: policy_stage.Stage, case: str) -> None:
    agree(stage, *test_truth_table.SPECS[case])
