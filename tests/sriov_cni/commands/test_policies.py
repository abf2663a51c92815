"""Policies of a pod in the course of a call: before the VF, after it, and never in its place."""

import asyncio
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from sriov.cluster import pod_policies, policies
from sriov.linux import kernel, netns
from sriov.state import ledger
from sriov_cni.commands.membership import policy_rounds
from sriov_cni.context import calls
from sriov_cni.dataplane.policies import policy_enforcer
from tests.fakes import bench, memory_nftables, policy_source
from tests.sriov_cni import harness
from tests.sriov_cni.monitoring import test_metrics

POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME="
TABLE = policies.PolicyTable(
    grants={"none": policies.Grant("x/none")},
    rules={("x", "a", ""): policies.Rules(("none",), ("none",)), ("x", "free", ""): policies.Rules()},
)


class Stage:
    def __init__(self, made: bench.Bench, socket: pathlib.Path) -> None:
        self.made = made
        self.client = harness.Client(socket, "/", made.machine.path("pod"))
        self.ruleset = made.machine.nft.setdefault(made.pod.identity, memory_nftables.Ruleset())

    def call(self, command: str, pod: str = "a") -> harness.Answer:
        network = harness.configuration(self.made.vfs[0], policy="kubernetes")
        return self.client.call(command, network, ARGS=POD + pod)

    @property
    def rules(self) -> int:
        return len(self.ruleset.rules("sriov-policy-net1"))


@pytest.fixture
def stage(tmp_path: pathlib.Path) -> Iterator[Stage]:
    made = bench.make(tmp_path)
    enforcer = policy_enforcer.Enforcer(made.node.kernel)
    further: dict[str, Any] = {"policies": policy_source.TableSource(TABLE), "enforcement": enforcer}
    with harness.daemon(made.node, made.book, tmp_path / "cni.sock", made.machine.adopt, **further):
        yield Stage(made, tmp_path / "cni.sock")
    made.pod.close()
    made.machine.close()


def test_rules_come_before_the_vf_and_go_after_it(stage: Stage) -> None:
    assert stage.call("ADD").code == 0
    requests = stage.made.machine.requests
    told, moved = (next(n for n, each in enumerate(requests) if each.startswith(one)) for one in ("set rules", "move"))
    assert told < moved
    assert stage.rules > 0
    start = len(requests)
    assert stage.call("DEL").code == 0
    last = requests[start:]
    assert max(n for n, each in enumerate(last) if each.startswith("move")) < last.index("set rules of nftables")
    assert stage.rules == 0


def test_a_pod_whose_rules_cannot_be_made_does_not_start(stage: Stage) -> None:
    before = stage.made.machine.snapshot()
    stage.ruleset.refuse("create table", "create table")
    assert stage.call("ADD").code == 11
    assert stage.made.machine.snapshot() == before
    assert list(stage.made.book.records()) == []


def test_an_add_that_fails_later_leaves_no_rules(stage: Stage) -> None:
    machine = stage.made.machine
    for _ in range(2):  # from the second on they are alike
        machine.requests.clear()
        assert stage.call("ADD").code == 0
        requests = list(machine.requests)
        assert stage.call("DEL").code == 0
    moved = next(n for n, each in enumerate(requests) if each.startswith("move"))
    machine.fail_at(moved + 1)
    assert stage.call("ADD").code == 100
    assert stage.rules == 0


def test_a_vf_whose_packets_the_kernel_does_not_see_is_refused_where_a_policy_selects(stage: Stage) -> None:
    vf = stage.made.vfs[0]
    stage.made.machine.node.set_driver(vf, "vfio-pci")
    stage.made.machine.node.set_netdev(vf)
    answer = stage.call("ADD")
    assert (answer.code, "a policy selects pod x/a" in answer.message) == (2, True), answer
    assert "vfio-pci" in answer.message
    assert stage.call("ADD", "free").code == 0


class Mending:
    """An enforcement that always finds one pod changed."""

    def __init__(self) -> None:
        self.repaired = 0
        self.adopted: list[policies.Place] = []

    def adopt(self, holding: pod_policies.PolicedPod) -> None:
        self.adopted.append(holding.place)

    def hold(self, inner: kernel.Kernel, holding: pod_policies.PolicedPod, policy: pod_policies.PodPolicy) -> None:
        raise AssertionError(holding)

    def arrived(self, inner: kernel.Kernel, key: tuple[tuple[int, int], str], device: str) -> None:
        raise AssertionError(device)

    def release(self, key: tuple[tuple[int, int], str], pod: netns.Netns | None) -> None:
        raise AssertionError(key)

    def bring_all(self, rules_of: object, *, look: bool) -> None:
        self.repaired += look


def test_a_daemon_takes_over_what_the_ledger_has_and_counts_repairs(stage: Stage) -> None:
    assert stage.call("ADD").code == 0
    mending, counted = Mending(), test_metrics.Counted()
    daemon = calls.Daemon(
        stage.made.node, stage.made.book, meter=counted,
        policies=policy_source.TableSource(TABLE), enforcement=mending,
    )  # fmt: skip

    async def for_a_while() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(policy_rounds.keep(daemon, interval=0.05), 0.5)

    asyncio.run(for_a_while())
    assert mending.adopted == [("x", "a", "")]
    assert counted.policies == mending.repaired > 1
    assert [each.policy for each in stage.made.book.records()] == [ledger.PolicyHold(index=record_index(stage))]


def record_index(stage: Stage) -> int:
    [record] = stage.made.book.records()
    assert record.policy is not None
    return record.policy.index


def test_a_vf_without_a_pf_is_not_up_before_packet_sockets_are_held(stage: Stage) -> None:
    """Others come up by the move itself, which is one request less."""
    machine = stage.made.machine
    vf = machine.add_vf_without_pf("0000:00:05.0", "ens5")
    network = harness.configuration(vf, policy="kubernetes", policyRaw=True)
    assert stage.client.call("ADD", network, ARGS=POD + "a").code == 0
    requests = machine.requests
    moved = next(n for n, each in enumerate(requests) if each.startswith("move"))
    rules = [n for n, each in enumerate(requests) if each.startswith("set rules")]
    up = next(n for n, each in enumerate(requests) if n > moved and each.startswith("set link") and "up=True" in each)
    assert rules[0] < moved < rules[1] < up
    assert "netdev" in stage.ruleset.told[1]
