"""What the enforcer does to a namespace: as little as it can, in one transaction, and again after others' changes."""

import contextlib
import pathlib
import time
from collections.abc import Iterator

import msgspec
import pytest

from sriov import errors
from sriov.cluster import pod_policies, policies
from sriov.cluster.policies import Grant, Opening, PortSpan, Transport
from sriov.linux import netns
from sriov_cni.dataplane.policies import policy_enforcer, policy_filter
from tests.fakes import memory_kernel, memory_nftables, policy_source, world

NAME = "0123456789abcdef"
ONE, OTHER = map(policies.packed, ("10.0.0.1", "10.0.0.2"))
SCOPE = pod_policies.Scope("net1", 7)


def policy(*addresses: bytes, ports: tuple[PortSpan, ...] | None = None) -> pod_policies.PodPolicy:
    grant = Grant("x/web", (Opening((NAME,), ports=ports),))
    return pod_policies.PodPolicy((grant,), None, {NAME: frozenset(addresses)})


class Stage:
    """A namespace in memory, and an enforcer that may be replaced by the next daemon's."""

    def __init__(self, machine: world.World) -> None:
        self.machine = machine
        self.ruleset = machine.nft.setdefault(machine.home.identity, memory_nftables.Ruleset())
        self.holding = pod_policies.PolicedPod(("x", "a", ""), SCOPE, "/proc/self/ns/net", machine.home.identity)
        self.restart()

    def restart(self) -> None:
        self.enforcer = policy_enforcer.Enforcer(memory_kernel.opener(self.machine))

    def hold(self, wanted: pod_policies.PodPolicy, holding: pod_policies.PolicedPod | None = None) -> str | None:
        """What was told to nftables, None for nothing."""
        before = len(self.ruleset.told)
        with memory_kernel.opener(self.machine)() as net:
            self.enforcer.hold(net, holding or self.holding, wanted)
        told = self.ruleset.told[before:]
        assert len(told) <= 1, "one transaction"
        return told[0] if told else None

    @property
    def digest(self) -> str:
        return self.ruleset.comment(policy_filter.table_name("net1"), policy_filter.STAMP)


@pytest.fixture
def stage(folder: pathlib.Path) -> Iterator[Stage]:
    machine = world.World(folder)
    yield Stage(machine)
    machine.close()


def test_a_pod_that_no_policy_selects_costs_no_rule(stage: Stage) -> None:
    assert stage.hold(pod_policies.EVERYTHING) is None
    assert stage.hold(pod_policies.EVERYTHING) is None


def test_what_is_in_force_is_not_told_again_by_the_next_daemon_either(stage: Stage) -> None:
    assert stage.hold(policy(ONE)) is not None
    assert stage.hold(policy(ONE)) is None
    stage.restart()
    assert stage.hold(policy(ONE)) is None
    stage.restart()
    assert stage.hold(policy(OTHER)) is not None


def test_a_change_of_addresses_is_told_as_such_and_all_else_replaces_the_table(stage: Stage) -> None:
    stage.hold(policy(ONE))
    first = stage.digest
    told = stage.hold(policy(ONE, OTHER))
    assert told is not None
    assert "table" not in told
    assert stage.digest != first
    assert stage.ruleset.elements("sriov-policy-net1", f"s4_{NAME}") == {ONE, OTHER}
    told = stage.hold(policy(ONE, OTHER, ports=(PortSpan(Transport.TCP, 80, 80),)))
    assert told is not None
    assert told.startswith("add table inet sriov-policy-net1\ndelete table inet sriov-policy-net1\ncreate table")


def test_a_pod_that_is_not_selected_any_more_loses_its_table(stage: Stage) -> None:
    stage.hold(policy(ONE))
    assert stage.hold(pod_policies.EVERYTHING) is not None
    assert stage.ruleset.rules("sriov-policy-net1") == ()
    assert stage.hold(policy(ONE)) is not None


@pytest.mark.parametrize(
    "harm",
    [
        "delete table inet sriov-policy-net1",
        "flush chain inet sriov-policy-net1 ingress",
        "add rule inet sriov-policy-net1 ingress accept",
        f"add element inet sriov-policy-net1 s4_{NAME} {{ 10.0.0.66 }}",
    ],
)
def test_what_a_pod_does_to_its_rules_is_undone_counted_and_told(
    stage: Stage, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage.hold(policy(ONE))
    stage.ruleset.run(harm)
    assert stage.hold(policy(ONE)) is not None
    assert stage.enforcer.repaired == 1
    assert "the rules of x/a (net1) for its network policies were changed in its namespace" in caplog.text
    assert stage.ruleset.elements("sriov-policy-net1", f"s4_{NAME}") == {ONE}
    assert stage.hold(policy(ONE)) is None
    stage.restart()
    stage.ruleset.run(harm)
    assert stage.hold(policy(ONE)) is not None, "by the next daemon, too"


def test_a_change_that_the_kernel_refuses_is_made_whole_by_replacing_all(stage: Stage) -> None:
    stage.hold(policy(ONE))
    stage.ruleset.refuse("delete element")
    with memory_kernel.opener(stage.machine)() as net:
        stage.enforcer.hold(net, stage.holding, policy(OTHER))
    assert stage.ruleset.elements("sriov-policy-net1", f"s4_{NAME}") == {OTHER}


def test_what_could_not_be_put_in_force_is_tried_again(stage: Stage) -> None:
    stage.ruleset.refuse("create table", "create table")
    with pytest.raises(errors.KernelError):
        stage.hold(policy(ONE))
    assert stage.hold(policy(ONE)) is not None


def seen(stage: Stage, rules: pod_policies.PodPolicy | None = None) -> str:
    """What is not as it was put in force."""
    with memory_kernel.opener(stage.machine)() as net:
        return stage.enforcer.difference(net, stage.holding, lambda *_: rules)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("delete table inet sriov-policy-net1", "is not there"),
        (f"add element inet sriov-policy-net1 s4_{NAME} {{ 10.0.0.66 }}", "has 1 addresses too many"),
        (f"delete element inet sriov-policy-net1 s4_{NAME} {{ 10.0.0.1 }}", "lacks 1 addresses"),
        ("add rule inet sriov-policy-net1 ingress accept", "rules, not "),
    ],
)
def test_a_difference_is_told_in_words_and_left_as_it_is(stage: Stage, harm: str, told: str) -> None:
    stage.hold(policy(ONE))
    assert seen(stage) == ""
    stage.ruleset.run(harm)
    before = stage.ruleset.generation
    assert told in seen(stage)
    stage.restart()
    assert seen(stage) == "", "of a former daemon's, as long as its policy is not known"
    assert told in seen(stage, policy(ONE))
    assert stage.ruleset.generation == before


def test_notes_tell_what_is_in_force_what_is_not_and_what_was_repaired(stage: Stage) -> None:
    with netns.own() as here:  # that the enforcer finds by its path
        holding = msgspec.structs.replace(stage.holding, path="/proc/thread-self/ns/net", netns=here.identity)
    ruleset = stage.machine.nft.setdefault(holding.netns, memory_nftables.Ruleset())
    stage.enforcer.adopt(holding)
    assert [each.digest for each in stage.enforcer.notes()] == [None], "nothing was done yet"
    stage.enforcer.bring_all(lambda *_: policy(ONE), look=True)
    [note] = stage.enforcer.notes()
    assert (note.namespace, note.pod, note.interface, note.netns) == ("x", "a", "net1", holding.netns)
    assert note.digest == ruleset.comment("sriov-policy-net1", policy_filter.STAMP) != ""
    assert (note.problem, note.repairs, note.repaired) == ("", 0, 0.0)
    ruleset.flush()
    ruleset.refuse("create table")
    with pytest.raises(errors.KernelError):
        stage.enforcer.bring_all(lambda *_: policy(OTHER), look=False)
    [note] = stage.enforcer.notes()
    assert (note.repairs, "set rules of nftables" in note.problem) == (1, True)
    assert time.time() - 60 < note.repaired <= time.time()
    with memory_kernel.opener(stage.machine)() as net:
        assert stage.enforcer.difference(net, holding, lambda *_: None) == note.problem
    stage.enforcer.bring_all(lambda *_: policy(OTHER), look=False)
    [note] = stage.enforcer.notes()
    assert (note.problem, note.digest) == ("", ruleset.comment("sriov-policy-net1", policy_filter.STAMP))


def test_marks_differ_and_a_device_that_comes_gets_its_chain(stage: Stage) -> None:
    told = []
    for number in range(2):
        holding = pod_policies.PolicedPod(
            ("x", "a", ""), msgspec.structs.replace(SCOPE, raw=True), "", (stage.machine.home.identity[0], number)
        )
        stage.hold(pod_policies.NOTHING, holding)
        with memory_kernel.opener(stage.machine)() as net:
            stage.enforcer.arrived(net, holding.key, "net1")
        told.append(stage.ruleset.told[-1])
    assert all('device "net1"' in each for each in told)
    assert told[0] != told[1]


def test_a_kernel_without_chains_at_the_egress_is_named(stage: Stage) -> None:
    holding = pod_policies.PolicedPod(("x", "a", ""), msgspec.structs.replace(SCOPE, raw=True), "", (0, 1))
    stage.hold(pod_policies.NOTHING, holding)
    stage.ruleset.refuse("add chain netdev")
    with memory_kernel.opener(stage.machine)() as net, pytest.raises(errors.UnsupportedError, match=r"policyRaw.*net1"):
        stage.enforcer.arrived(net, holding.key, "net1")


def test_two_interfaces_of_a_pod_whose_connections_have_one_label_are_refused(stage: Stage) -> None:
    stage.hold(policy(ONE))
    for name, refused in (("net117", True), ("net2", False)):
        other = msgspec.structs.replace(stage.holding, scope=pod_policies.Scope(name, 9))
        with pytest.raises(errors.UnsupportedError, match="net1 and net117") if refused else contextlib.nullcontext():
            stage.hold(policy(ONE), other)
    elsewhere = msgspec.structs.replace(stage.holding, scope=pod_policies.Scope("net117", 9), netns=(0, 1))
    stage.hold(policy(ONE), elsewhere)


def test_release_ends_it_and_takes_the_rules(stage: Stage) -> None:
    stage.hold(policy(ONE))
    stage.enforcer.release(stage.holding.key, stage.machine.home)
    assert stage.ruleset.rules("sriov-policy-net1") == ()
    stage.enforcer.release(stage.holding.key, stage.machine.home)
    stage.enforcer.bring_all(lambda *_: policy(ONE), look=True)
    assert stage.ruleset.rules("sriov-policy-net1") == ()


class Reached:
    """The same, for an attachment whose namespace the enforcer finds by its path."""

    def __init__(self, stage: Stage) -> None:
        with netns.own() as here:
            self.holding = msgspec.structs.replace(stage.holding, path="/proc/thread-self/ns/net", netns=here.identity)
        self.stage = stage
        self.ruleset = stage.machine.nft.setdefault(self.holding.netns, memory_nftables.Ruleset())
        self.stage.enforcer.adopt(self.holding)

    def next_daemon(self) -> None:
        self.stage.restart()
        self.stage.enforcer.adopt(self.holding)

    def add(self, wanted: pod_policies.PodPolicy) -> None:
        """As an ADD does."""
        with netns.own() as here, memory_kernel.opener(self.stage.machine)() as net, net.inside(here) as inner:
            self.stage.enforcer.hold(inner, self.holding, wanted)

    def answered(self) -> None:
        """As after an ADD."""
        self.stage.enforcer.remember(self.holding.key)

    def difference(self) -> str:
        with netns.own() as here, memory_kernel.opener(self.stage.machine)() as net, net.inside(here) as inner:
            return self.stage.enforcer.difference(inner, self.holding, lambda *_: None)

    def swap(self) -> None:
        """All is let in, by as many rules as before."""
        rules = [each.split(" ", 1) for each in map(bytes.decode, self.ruleset.rules("sriov-policy-net1"))]
        kept = [f"add rule inet sriov-policy-net1 {chain} {rule}" for chain, rule in rules if chain == "ingress"][:-1]
        chain = "inet sriov-policy-net1 ingress"
        self.ruleset.run("\n".join((f"flush chain {chain}", *kept, f"add rule {chain} accept")))

    @property
    def rules(self) -> list[bytes]:
        return sorted(self.ruleset.rules("sriov-policy-net1"))

    @property
    def repaired(self) -> int:
        return self.stage.enforcer.repaired

    def bring(self, wanted: pod_policies.PodPolicy | None, *, confirmed: bool = True) -> None:
        self.stage.enforcer.bring_all(lambda *_: wanted, look=True, confirmed=confirmed)

    @property
    def digest(self) -> str:
        return self.ruleset.comment("sriov-policy-net1", policy_filter.STAMP)


@pytest.fixture
def reached(stage: Stage) -> Reached:
    return Reached(stage)


@pytest.mark.parametrize("older", [policy(OTHER), pod_policies.EVERYTHING, pod_policies.NOTHING])
def test_a_snapshot_that_may_be_older_replaces_nothing(reached: Reached, older: pod_policies.PodPolicy) -> None:
    """A daemon that was killed may have put more in force than it has written down. The agent's own word counts."""
    reached.bring(policy(ONE))
    before, newer = reached.ruleset.generation, reached.digest
    assert newer
    reached.next_daemon()
    for _ in range(2):
        reached.bring(older, confirmed=False)
        assert (reached.ruleset.generation, reached.digest) == (before, newer)
    reached.bring(older)
    assert reached.digest != newer


def test_a_snapshot_counts_where_nothing_is_in_force_or_the_same(reached: Reached) -> None:
    reached.bring(policy(ONE), confirmed=False)
    digest, before = reached.digest, reached.ruleset.generation
    assert digest
    reached.next_daemon()
    reached.bring(policy(ONE), confirmed=False)
    assert reached.ruleset.generation == before
    reached.ruleset.flush()
    reached.bring(policy(ONE), confirmed=False)
    assert reached.digest == digest


def test_what_is_not_known_stays_as_it_is(reached: Reached) -> None:
    reached.bring(policy(ONE))
    before = reached.ruleset.generation
    reached.next_daemon()
    reached.bring(None)
    assert (reached.ruleset.generation, reached.digest != "") == (before, True)


def test_rules_of_others_are_no_harm(reached: Reached) -> None:
    reached.add(policy(ONE))
    reached.answered()
    reached.ruleset.run("add table inet theirs\nadd chain inet theirs one\nadd rule inet theirs one drop")
    before = reached.ruleset.generation
    reached.bring(policy(ONE))
    assert reached.ruleset.generation == before
    reached.bring(policy(OTHER))
    assert (reached.ruleset.generation, reached.repaired) == (before + 1, 0)


def test_rules_are_read_when_the_add_was_answered(reached: Reached) -> None:
    """What is swapped after that is seen for what it is, by whoever looks, and restored."""
    reached.add(policy(ONE))
    made = reached.rules
    reached.answered()
    reached.swap()
    assert reached.difference().endswith("has other rules than were made")
    reached.bring(policy(ONE))
    assert (reached.rules, reached.repaired) == (made, 1)


@pytest.mark.parametrize("early", [True, False])
def test_rules_that_were_swapped_before_they_were_read_are_replaced(reached: Reached, early: bool) -> None:
    """Nobody is blamed: whoever has changed nftables in the pod may have changed what is its own."""
    reached.add(policy(ONE))
    made = reached.rules
    reached.swap()
    assert len(reached.rules) == len(made)
    if early:
        reached.answered()
    reached.bring(policy(ONE))
    assert (reached.rules, reached.repaired) == (made, 0)
    reached.swap()
    reached.bring(policy(ONE))
    assert (reached.rules, reached.repaired) == (made, 1)


def test_rules_that_were_never_read_are_not_believed_after_a_failure(reached: Reached) -> None:
    reached.add(policy(ONE))
    made = reached.rules
    reached.swap()
    reached.ruleset.refuse("create table")
    with pytest.raises(errors.KernelError):
        reached.bring(policy(ONE))
    for _ in range(2):
        reached.bring(policy(ONE))
    assert reached.rules == made


@pytest.mark.parametrize("after", [policy(OTHER), pod_policies.NOTHING])
def test_rules_that_are_swapped_just_after_a_change_are_seen(reached: Reached, after: pod_policies.PodPolicy) -> None:
    """Before anybody could ask for the generation."""
    reached.add(policy(ONE))
    reached.answered()
    reached.ruleset.after_next = reached.swap
    reached.bring(after)
    reached.bring(after)
    swapped = reached.rules
    reached.next_daemon()
    reached.ruleset.flush()
    reached.bring(after)
    assert swapped == reached.rules


def test_a_table_for_packet_sockets_where_they_are_not_held_is_the_pods_own(reached: Reached) -> None:
    reached.add(policy(ONE))
    reached.answered()
    table = "netdev sriov-policy-net1"
    reached.ruleset.run(f"add table {table}\nadd chain {table} own\nadd rule {table} own accept")
    before = reached.ruleset.generation
    for _ in range(2):
        reached.bring(policy(ONE))
        assert reached.difference() == ""
    assert (reached.ruleset.generation, reached.repaired) == (before, 0)


WITH_UID = policies.Rules((), None, "old")
CHANGED = {
    "another pod of its name": ({("x", "a", ""): policies.Rules(None, None, "new")}, frozenset(policies.PolicyKind)),
    "not watched any more": ({("x", "a", ""): WITH_UID}, frozenset[str]()),
}


@pytest.mark.parametrize("change", CHANGED)
@pytest.mark.parametrize("is_replaced", [False, True])
def test_what_is_known_of_others_or_of_nobody_changes_nothing(
    reached: Reached, change: str, *, is_replaced: bool
) -> None:
    """Of a pod that has ended, of policies that nobody watches any more; what a pod does to its rules is undone."""
    reached.holding = msgspec.structs.replace(reached.holding, uid="old")
    reached.next_daemon()
    source = policy_source.TableSource(policies.PolicyTable(rules={("x", "a", ""): WITH_UID}))
    enforcer = reached.stage.enforcer
    enforcer.bring_all(source.rules_of, look=True)
    before = reached.digest
    assert before
    source.put(policies.PolicyTable(rules=CHANGED[change][0], kinds=CHANGED[change][1]))
    if is_replaced:
        reached.next_daemon()
        enforcer = reached.stage.enforcer
    enforcer.bring_all(source.rules_of, look=True)
    assert reached.digest == before
    if not is_replaced:
        reached.ruleset.flush()
        enforcer.bring_all(source.rules_of, look=True)
        assert reached.digest == before
    source.put(policies.PolicyTable(rules={("x", "a", ""): policies.Rules(uid="old")}))
    enforcer.bring_all(source.rules_of, look=False)
    assert reached.digest == "", "what is known of it counts"
