"""What root in a pod does to its rules and interfaces, on the real kernel, and what the next look makes of it."""

import contextlib
import subprocess
from collections.abc import Iterator

import pytest

from sriov import errors
from sriov.cluster import pod_policies
from sriov.linux import netlink, netns
from sriov_cni.dataplane.policies import policy_enforcer, policy_filter
from tests.kernel import crafted, namespaces, policy_stage, ways_out

pytestmark = pytest.mark.root
OWN, PEER = "10.0.0.1", "10.0.0.2"
TABLE = policy_filter.table_name("net1")
PACKET = crafted.ipv4(crafted.MARKER, 253, OWN, PEER)
ACTS = {
    "all rules are flushed": "nft flush ruleset",
    "packet sockets are let out": f"nft delete table netdev {TABLE}",
    "hooks are flushed": f"nft flush chain inet {TABLE} output",
    "a hook is left out": f"nft delete rule inet {TABLE} output handle"
    f" $(nft -a list chain inet {TABLE} output | awk '/jump egress/ {{print $NF; exit}}')",
    "a rule is inserted": f"nft insert rule inet {TABLE} egress accept",
    "a rule is inserted for packet sockets": f"nft insert rule netdev {TABLE} raw0 accept",
    "connections are not noted": f"nft flush chain inet {TABLE} passed-output",
    "a rule is replaced": f"nft replace rule inet {TABLE} egress handle"
    f" $(nft -a list chain inet {TABLE} egress | awk '/drop # handle/ {{n=$NF}} END {{print n}}') accept",
    "the rules sleep": f"nft 'add table inet {TABLE} {{ flags dormant; }}'",
    "packet sockets' rules sleep": f"nft 'add table netdev {TABLE} {{ flags dormant; }}'",
    "the digest is another one": f"nft 'delete chain inet {TABLE} enforced;"
    f' add chain inet {TABLE} enforced {{ comment "0"; }}\'',
    "the interface is renamed": "ip link set net1 name other",
}
UNSEEN = "a rule is replaced"
"""While no daemon runs, this is not seen: the number of rules is the same, and so is the digest."""


class Pod:
    """A pod that denies everything, to packet sockets too, and who holds it to that."""

    def __init__(self, stage: policy_stage.Stage) -> None:
        self.inside, self._others = stage.pod, stage.others
        assert self.lets_out(), "so that what does not get out afterwards is held"
        with self._kernel() as inner:
            scope = pod_policies.Scope("net1", inner.link("net1").index, raw=True)
        self.holding = pod_policies.PolicedPod(("x", "a", ""), scope, stage.pod.path, stage.pod.handle.identity)
        self.added()
        self.enforcer.remember(self.holding.key)
        self.look()

    def added(self) -> None:
        """As by an ADD that has not been answered yet."""
        self.enforcer = self.restarted()
        with self._kernel() as inner:
            self.enforcer.hold(inner, self.holding, pod_policies.NOTHING)

    def generation(self) -> int:
        with self._kernel() as inner:
            return inner.nft_generation()

    @contextlib.contextmanager
    def _kernel(self) -> Iterator[netlink.Netlink]:
        with contextlib.closing(netlink.Netlink()) as net, net.inside(self.inside.handle) as inner:
            yield inner

    def restarted(self) -> policy_enforcer.Enforcer:
        made = policy_enforcer.Enforcer(lambda: contextlib.closing(netlink.Netlink()))
        made.adopt(self.holding)
        return made

    def look(self) -> None:
        self.enforcer.bring_all(lambda *_: pod_policies.NOTHING, look=True)

    def does(self, act: str) -> str:
        command = ["ip", "netns", "exec", self.inside.name, "sh", "-ec", act]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def rules(self) -> str:
        """Without counters and marks, which are others each time."""
        said = self.does("nft -s list ruleset")
        return " ".join(word for word in said.split() if not word.startswith("0x"))

    def lets_out(self, device: str = "net1", patience: float = ways_out.QUIET) -> bool:
        with ways_out.watched(self._others.handle, "far") as listening:
            with netns.entered(self.inside.handle):
                ways_out.by_packet_socket(device, crafted.ethernet(PACKET))
                ways_out.by_raw_ip(device, PACKET)
            return ways_out.comes(listening, crafted.MARKER, patience)


@pytest.fixture
def pod() -> Iterator[Pod]:
    with policy_stage.staged((OWN,), [PEER]) as stage:
        yield Pod(stage)


@pytest.mark.parametrize(
    ("act", "restarted"),
    [(act, after) for act in ACTS for after in (False, True) if (act, after) != (UNSEEN, True)],
)
def test_what_is_changed_is_restored_and_counted(pod: Pod, act: str, restarted: bool) -> None:
    before = pod.rules()
    assert not pod.lets_out()
    pod.does(ACTS[act])
    if restarted:
        pod.enforcer = pod.restarted()
    pod.look()
    assert pod.rules() == before
    assert not pod.lets_out()
    assert "net1" in pod.does("ip -o link show up")
    assert pod.enforcer.repaired == (0 if restarted and "renamed" not in act else 1)
    count = pod.enforcer.repaired
    pod.look()
    assert (pod.enforcer.repaired, pod.enforcer.problems()) == (count, [])


@pytest.mark.parametrize("act", [each for each in ACTS if "renamed" not in each])
def test_what_is_changed_before_it_was_read_is_restored(pod: Pod, act: str) -> None:
    before = pod.rules()
    pod.does("nft flush ruleset")
    pod.added()
    pod.does(ACTS[act])
    pod.enforcer.remember(pod.holding.key)
    pod.look()
    assert pod.rules() == before
    assert not pod.lets_out()


def test_looks_and_what_was_answered_change_nothing(pod: Pod) -> None:
    before = pod.generation()
    pod.look()
    pod.enforcer.remember(pod.holding.key)
    pod.look()
    assert pod.generation() == before
    pod.does("nft flush ruleset")
    pod.added()
    made = pod.generation()
    for _ in range(2):
        pod.look()
    assert (pod.generation(), pod.enforcer.repaired) == (made, 0)


def test_rules_of_the_pods_own_neither_open_nor_are_touched(pod: Pod) -> None:
    """An accept ends only its own chain; the look leaves others' tables alone."""
    pod.does(
        "nft 'add table inet own; add chain inet own out { type filter hook output priority -500; };"
        " add rule inet own out meta mark set 0x1 accept;"
        " add chain inet own late { type filter hook output priority 500; }; add rule inet own late accept;"
        " add table netdev own;"
        ' add chain netdev own out { type filter hook egress device "net1" priority -500; };'
        " add rule netdev own out accept'"
    )
    pod.does(f"nft 'add chain netdev {TABLE} raw0 {{ policy accept; }}'")
    assert not pod.lets_out()
    pod.look()
    assert pod.enforcer.repaired == 0
    assert "table inet own" in pod.rules()


@pytest.mark.parametrize(
    ("taking", "freeing"),
    [
        ("ip link add net1 type bridge", "ip link del net1"),
        ("ip link property add dev other altname net1", "ip link property del dev other altname net1"),
    ],
)
def test_a_name_that_the_pod_gives_to_another_interface_is_said(pod: Pod, taking: str, freeing: str) -> None:
    pod.does(f"ip link set net1 name other; {taking}")
    pod.look()
    [said] = pod.enforcer.problems()
    assert said.startswith(
        "policies of x/a (net1) are not in force: its interface net1 was renamed to other in the pod"
    )
    pod.does(freeing)
    pod.look()
    assert (pod.enforcer.problems(), pod.lets_out()) == ([], False)


def test_rules_that_cannot_be_restored_are_said_until_they_can(pod: Pod) -> None:
    """While a process of the pod owns a table of their name."""
    before = pod.rules()
    pod.does(f"nft delete table inet {TABLE}")
    command = ["ip", "netns", "exec", pod.inside.name, "nft", "-i"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as owner:
        assert owner.stdin is not None
        owner.stdin.write(f"add table inet {TABLE} {{ flags owner; }}\n")
        owner.stdin.flush()
        assert namespaces.until(lambda: "flags owner" in pod.rules())
        for _ in range(2):
            with pytest.raises(errors.KernelError):
                pod.look()
            [said] = pod.enforcer.problems()
            assert said.startswith("policies of x/a (net1) are not in force: ")
            assert "Operation not permitted" in said
        owner.kill()
    assert namespaces.until(lambda: "flags owner" not in pod.rules())
    pod.look()
    assert (pod.enforcer.problems(), pod.rules()) == ([], before)


def test_a_vf_that_the_pod_moves_away_is_said_and_its_end_is_not(pod: Pod) -> None:
    with namespaces.made("child") as child:
        pod.does(f"ip link set net1 netns {child.name}")
        pod.look()
        assert pod.enforcer.problems() == [], "a DEL, it seems"
        pod.look()
        [said] = pod.enforcer.problems()
        assert "its VF net1 is not in its namespace any more: root in the pod has moved it" in said
        subprocess.run(["ip", "-n", child.name, "link", "set", "net1", "netns", pod.inside.name], check=True)
        pod.look()
        assert pod.enforcer.problems() == []
    pod.enforcer.release(pod.holding.key, None)
    assert pod.enforcer.problems() == []
