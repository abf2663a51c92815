"""Policies of a pod in the course of a call: before the VF, after it, and never in its place."""

import asyncio
import errno
import functools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from sriov import errors
from sriov.cluster import pod_policies, policies
from sriov.linux import kernel, netns
from sriov.state import ledger, policy_notes
from sriov_cni.commands.membership import policy_requests, policy_rounds
from sriov_cni.context import calls
from sriov_cni.dataplane.policies import policy_enforcer
from tests.deviceplugin import loops
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

    def call(self, command: str, pod: str = "a", **keys: object) -> harness.Answer:
        network = harness.configuration(self.made.vfs[0], **{"policy": "kubernetes", **keys})
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


def test_a_policy_that_comes_to_select_a_vf_that_the_kernel_does_not_see_is_said_aloud(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the log, /readyz and a metric, by the next daemon, too, until no policy selects it or the pod has ended."""
    made, source = bench.make(tmp_path), policy_source.TableSource(TABLE)
    vf, enforcer = made.vfs[0], policy_enforcer.Enforcer(made.node.kernel)
    made.machine.node.set_driver(vf, "vfio-pci")
    made.machine.node.set_netdev(vf)
    call_by(made, source, enforcer, tmp_path / "cni.sock", "ADD")
    enforcer.bring_all(source.rules_of, look=True)
    assert enforcer.problems() == []
    selected = msgspec.structs.replace(TABLE, rules={**TABLE.rules, ("x", "free", ""): policies.Rules((), None)})
    source.put(selected)
    said = "policies of x/free (net1) are not in force: the kernel sees no packet of its VF"
    for number in range(2):
        daemon = calls.Daemon(made.node, made.book, policies=source, enforcement=enforcer)
        policy_rounds.adopt(daemon, enforcer)
        for look in (True, False, True):
            enforcer.bring_all(source.rules_of, look=look)
        assert [each.startswith(said) for each in daemon.problems()] == [True]
        assert sum(said in each.message for each in caplog.records) == number + 1, "once, and not at every look"
        [note] = enforcer.notes()
        assert note.problem.startswith("the kernel sees no packet of its VF"), "the metric counts it"
        enforcer = policy_enforcer.Enforcer(made.node.kernel)
    policy_rounds.adopt(daemon, enforcer)
    for table, wrong in ((TABLE, 0), (selected, 1)):
        source.put(table)
        enforcer.bring_all(source.rules_of, look=False)
        assert len(enforcer.problems()) == wrong
    call_by(made, source, enforcer, tmp_path / "cni.sock", "DEL")
    assert enforcer.problems() == []
    made.pod.close()
    made.machine.close()


def call_by(
    made: bench.Bench,
    source: policy_source.TableSource,
    enforcer: policy_enforcer.Enforcer,
    socket: pathlib.Path,
    command: str,
) -> None:
    """For the pod that no policy of TABLE selects."""
    further: dict[str, Any] = {"policies": source, "enforcement": enforcer}
    network = harness.configuration(made.vfs[0], policy="kubernetes")
    with harness.daemon(made.node, made.book, socket, made.machine.adopt, **further):
        client = harness.Client(socket, "/", made.machine.path("pod"))
        assert client.call(command, network, ARGS=POD + "free").code == 0


@pytest.fixture
def changing(tmp_path: pathlib.Path) -> Iterator[tuple[Stage, policy_source.TableSource, policy_enforcer.Enforcer]]:
    """A stage whose table changes."""
    made, source = bench.make(tmp_path), policy_source.TableSource(TABLE)
    enforcer = policy_enforcer.Enforcer(made.node.kernel)
    further: dict[str, Any] = {"policies": source, "enforcement": enforcer}
    with harness.daemon(made.node, made.book, tmp_path / "cni.sock", made.machine.adopt, **further):
        yield Stage(made, tmp_path / "cni.sock"), source, enforcer
    made.pod.close()
    made.machine.close()


Changing = tuple[Stage, policy_source.TableSource, policy_enforcer.Enforcer]


def with_uid(uid: str, rules: policies.Rules) -> policies.PolicyTable:
    told = policies.Rules(rules.ingress, rules.egress, uid)
    return msgspec.structs.replace(TABLE, rules={("x", "a", ""): told})


DENIED = TABLE.rules["x", "a", ""]


def test_a_pod_that_is_made_again_does_not_get_the_rules_of_the_one_before_it(changing: Changing) -> None:
    stage, source, _ = changing
    source.put(with_uid("old", policies.Rules()))
    for uid in ("", ";K8S_POD_UID=old"):
        assert stage.call("ADD", "a" + uid).code == 0, "a runtime that tells no UID has the name decide"
        assert stage.call("DEL", "a" + uid).code == 0
    refused = stage.call("ADD", "a;K8S_POD_UID=new")
    words = "the policies of pod x/a are not known on this node, only those of another pod of its name: the UID of this"
    assert (refused.code, f"{words} one is new" in refused.message) == (11, True), refused
    assert list(stage.made.book.records()) == []
    source.put(with_uid("new", DENIED))
    assert stage.call("ADD", "a;K8S_POD_UID=new").code == 0
    assert stage.rules > 0


def test_what_keeps_a_pods_rules_goes_by_its_uid(changing: Changing) -> None:
    """By a later daemon's look, too, of the records that it finds."""
    stage, source, enforcer = changing
    source.put(with_uid("old", DENIED))
    assert stage.call("ADD", "a;K8S_POD_UID=old").code == 0
    held = policy_source.NotedEnforcement()
    policy_rounds.adopt(calls.Daemon(stage.made.node, stage.made.book, policies=source, enforcement=enforcer), held)
    assert [each.asked for each in held.adopted] == [("x", "a", "", "old")]


def test_policies_of_other_networks_that_nobody_watches_are_not_known(changing: Changing) -> None:
    """It does not wait for them; as the network says, it starts closed or open, until they are watched."""
    stage, source, _ = changing
    began = time.monotonic()
    refused = stage.call("ADD", policy="multi")
    assert time.monotonic() - began < policy_requests.PATIENCE
    words = "policy 'multi': no MultiNetworkPolicy is known on this node: its sriov-agent does not watch them"
    assert (refused.code, refused.document["msg"]) == (11, words)
    assert "start sriov-agent with --policies all" in refused.message
    assert list(stage.made.book.records()) == []
    for unknown, closed in (("deny", True), ("allow", False)):
        keys = {"policy": "multi", "policyUnknown": unknown}
        assert stage.call("ADD", **keys).code == 0
        assert (stage.rules > 0) == closed
        assert stage.call("DEL", **keys).code == 0
    source.put(msgspec.structs.replace(TABLE, kinds=frozenset(policies.PolicyKind)))
    assert stage.call("ADD", policy="multi").code == 0
    assert stage.rules == 0, "no policy selects it, as is known now"


def flushed(stage: Stage) -> str:
    stage.ruleset.flush()
    return "the table sriov-policy-net1 is not there"


def unstamped(stage: Stage) -> str:
    stage.ruleset.run("delete chain inet sriov-policy-net1 enforced")
    return "the table sriov-policy-net1 has no digest, not "


def another(stage: Stage) -> str:
    made = 'add chain inet sriov-policy-net1 enforced { comment "abc"; }'
    stage.ruleset.run(f"delete chain inet sriov-policy-net1 enforced\n{made}")
    return "the table sriov-policy-net1 has the digest abc, not "


def emptied(stage: Stage) -> str:
    before = stage.rules
    stage.ruleset.run("flush chain inet sriov-policy-net1 ingress")
    return f"the table sriov-policy-net1 has {stage.rules} rules, not {before}"


@pytest.mark.parametrize("change", [flushed, unstamped, another, emptied])
def test_check_finds_rules_that_are_not_as_they_were_made(stage: Stage, change: Callable[[Stage], str]) -> None:
    added = stage.call("ADD")
    previous = {"prevResult": added.document}
    assert stage.call("CHECK", **previous).code == 0
    why = change(stage)
    answer = stage.call("CHECK", **previous)
    assert (answer.code, f"interface net1 is not held to its network policies: {why}" in answer.message) == (101, True)
    assert "see `sriovctl doctor`" in answer.message


def test_check_of_a_pod_that_no_policy_selects_finds_only_a_table_that_is_there(stage: Stage) -> None:
    previous = {"prevResult": stage.call("ADD", "free").document}
    assert stage.call("CHECK", "free", **previous).code == 0
    stage.ruleset.run("create table inet sriov-policy-net1\nadd chain inet sriov-policy-net1 c\n"
                      "add rule inet sriov-policy-net1 c drop")  # fmt: skip
    answer = stage.call("CHECK", "free", **previous)
    assert (answer.code, "is there, and no policy selects the pod" in answer.message) == (101, True), answer


def test_check_by_a_daemon_without_policies_says_so(stage: Stage, tmp_path: pathlib.Path) -> None:
    previous = {"prevResult": stage.call("ADD").document}
    made = stage.made
    with harness.daemon(made.node, made.book, tmp_path / "other.sock", made.machine.adopt):
        client = harness.Client(tmp_path / "other.sock", "/", made.machine.path("pod"))
        network = harness.configuration(made.vfs[0], policy="kubernetes", **previous)
        answer = client.call("CHECK", network, ARGS=f"{POD}a")
    assert (answer.code, "start the daemon with --policy-socket" in answer.message) == (101, True), answer


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

    def mark_of(self, key: tuple[tuple[int, int], str]) -> int:
        raise AssertionError(key)

    def release(self, key: tuple[tuple[int, int], str], pod: netns.Netns | None) -> None:
        raise AssertionError(key)

    def remember(self, key: tuple[tuple[int, int], str]) -> None:
        raise AssertionError(key)

    def problems(self) -> list[str]:
        return []

    def bring_all(self, rules_of: object, *, look: bool, confirmed: bool = True) -> None:
        self.repaired += look

    def notes(self) -> tuple[policy_notes.PolicyNote, ...]:
        first = policy_notes.PolicyNote(namespace="x", pod="a", interface="net1", netns=(1, 2), problem="it rains")
        return first, msgspec.structs.replace(first, problem="")

    def difference(self, inner: kernel.Kernel, holding: pod_policies.PolicedPod, rules_of: object) -> str:
        raise AssertionError(holding)


def test_a_daemon_takes_over_what_the_ledger_has_counts_repairs_and_writes_down_what_holds(
    stage: Stage, tmp_path: pathlib.Path
) -> None:
    begun = time.time()
    assert stage.call("ADD").code == 0
    mending, counted, notes = Mending(), test_metrics.Counted(), policy_notes.NoteFile(tmp_path)
    daemon = calls.Daemon(
        stage.made.node, stage.made.book, meter=counted,
        policies=policy_source.TableSource(TABLE, 60.0), enforcement=mending, notes=notes,
    )  # fmt: skip

    async def for_a_while() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(policy_rounds.keep(daemon, interval=0.05), 0.5)

    asyncio.run(for_a_while())
    assert mending.adopted == [("x", "a", "")]
    assert counted.policies == mending.repaired > 1
    assert counted.failing == 1
    told = notes.read()
    assert told is not None
    assert told.silent_since is not None
    assert begun - 60 <= told.silent_since <= told.looked - 60 + 0.001 <= time.time() - 60
    assert told.pods == mending.notes()
    assert [each.policy for each in stage.made.book.records()] == [ledger.PolicyHold(index=record_index(stage))]


class Failing(Mending):
    """One that cannot do it for one pod, as when that pod owns a table of the name, until the tenth round."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0

    def has_done(self, rounds: int) -> bool:
        return self.rounds >= rounds

    def bring_all(self, rules_of: object, *, look: bool, confirmed: bool = True) -> None:
        self.rounds += 1
        if self.rounds < 10:
            raise errors.KernelError("set rules of nftables", errno.EPERM)


def test_a_pod_whose_rules_cannot_be_made_delays_no_other(stage: Stage) -> None:
    """It is a problem of the daemon's until it is over; rounds go on as they are due, and with each change."""
    failing, source = Failing(), policy_source.TableSource(TABLE)
    daemon = calls.Daemon(stage.made.node, stage.made.book, policies=source, enforcement=failing)

    async def body() -> None:
        keeping = asyncio.create_task(policy_rounds.keep(daemon, interval=0.3))
        await loops.until(lambda: failing.rounds > 1, 5)
        await loops.until(lambda: bool(daemon.tasks.problems()), 5)
        assert failing.rounds < 9
        for number in range(failing.rounds, 10):
            source.put(TABLE)
            await loops.until(functools.partial(failing.has_done, number + 1), 0.9)
        await loops.until(lambda: not daemon.tasks.problems(), 10)
        keeping.cancel()

    loops.run(body(), 30)


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
