"""What sriovctl and CHECK say of a pod's policies is what real packets meet, and what the kernel has (root)."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sriov import errors
from sriov.cluster import policies, policy_changes
from sriov.linux import netns, nftables
from sriov.state import policy_notes
from sriov_cni.commands.membership import policy_rounds
from sriov_cni.dataplane.policies import reception
from sriovctl.node.policies import standing
from tests.kernel import linked, namespaces, policed
from tests.kernel.linked import V4, V6
from tests.kernel.policed import DENY, OPEN, TABLE, UNSELECTED, Stage, table

pytestmark = pytest.mark.root
PROJECT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def stage(tmp_path: pathlib.Path) -> Iterator[Stage]:
    with policed.opened(tmp_path) as made:
        yield made


def put(stage: Stage, wanted: policies.PolicyTable) -> None:
    """What the agent has sent, in the daemon and on disk."""
    stage.put(wanted)
    reception.kept(stage.place.node.folder / "snapshot").write(policy_changes.whole(wanted))


def sriovctl(stage: Stage, *arguments: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """The program as a process of this machine, with nothing but the node's own places. `before` starts it."""
    node = stage.place.node
    places = {"sysfs": node.sysfs_root, "run-dir": node.folder / "run", "policy-snapshot": node.folder / "snapshot"}
    places |= dict.fromkeys(("etc", "boot", "run", "kubelet", "cni-conf", "config"), node.folder / "nothing")
    given = (f"--{name}={path}" for name, path in places.items())
    command = [*before, sys.executable, "-m", "sriovctl", *given, *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def passes(stage: Stage, *question: str) -> bool:
    """The answer to one question, which is in force."""
    ran = sriovctl(stage, "policy", "x/a", *question, "-o", "json")
    document = json.loads(ran.stdout)
    assert [each["inForce"] for each in document["interfaces"]] == [True], document
    [item] = document["items"]
    assert ran.returncode == (0 if item["passes"] else 1)
    return bool(item["passes"])


@pytest.mark.parametrize("rules", [OPEN, DENY, UNSELECTED], ids=["open", "deny", "unselected"])
def test_an_answer_is_what_packets_meet(stage: Stage, rules: policies.Rules) -> None:
    put(stage, table(rules))
    assert stage.add().code == 0
    for of in (V4, V6):
        for way, ingress in (("--from", True), ("--to", False)):
            met = stage.reaches if passes(stage, way, of.gateway, "--port", "8080") else stage.is_cut_off
            assert met(of, ingress=ingress), (of, way)
    assert passes(stage, "--from", V4.gateway, "--port", "8081") == (rules is UNSELECTED)


def test_an_answer_follows_a_change(stage: Stage) -> None:
    put(stage, table(OPEN))
    assert stage.add(families=(V4,)).code == 0
    before = stage.digest
    assert passes(stage, "--from", V4.gateway, "--port", "8080")
    put(stage, table(OPEN, peers=frozenset()))
    assert namespaces.until(lambda: stage.digest != before)
    assert not passes(stage, "--from", V4.gateway, "--port", "8080")
    assert stage.is_cut_off(V4, ingress=True)


def test_rules_for_packet_sockets_and_the_host_link_are_counted(stage: Stage) -> None:
    put(stage, table(OPEN))
    assert stage.add(families=(V4,), hostLink=True, policyRaw=True).code == 0
    ran = sriovctl(stage, "policy", "x/a")
    assert re.search(rf"^net1: in force: the table {TABLE} is in the pod", ran.stdout, re.MULTILINE), ran
    assert re.search(rf"^net1 +ingress +.*{V4.node}.* all +yes +the node, by the host link$", ran.stdout, re.MULTILINE)
    assert ran.returncode == 0
    explained = json.loads(sriovctl(stage, "explain", "x/a", "-o", "json").stdout)["items"]
    assert [each["answer"] for each in explained if each["step"] == "policy"] == ["yes"]


def test_without_a_capability_as_in_the_daemonsets_container_the_daemons_word_is_taken(stage: Stage) -> None:
    put(stage, table(OPEN))
    assert stage.add(families=(V4,)).code == 0
    notes = policy_notes.NoteFile(stage.place.node.folder / "run")
    assert namespaces.until(
        lambda: (found := notes.read()) is not None and stage.digest in {one.digest for one in found.pods}
    )
    ran = sriovctl(stage, "policy", "x/a", before=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    told = (
        rf"^net1: in force: the table {TABLE} is in the pod, with the digest {stage.digest}, as the CNI daemon saw at 2"
    )
    assert re.search(told, ran.stdout, re.MULTILINE), ran
    assert ran.returncode == 0
    stage.place.daemon.send_signal(signal.SIGSTOP)
    put(stage, table(DENY))
    ran = sriovctl(stage, "policy", "x/a", before=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    stage.place.daemon.send_signal(signal.SIGCONT)
    assert re.search(r"^net1: not in force: the CNI daemon has put other rules in force", ran.stdout, re.MULTILINE), ran
    ran = sriovctl(stage, "policy", "x/a", "--from", "a", before=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    assert (ran.returncode, "write the address of a itself" in ran.stderr) == (2, True), ran


def test_a_namespace_that_has_taken_the_place_of_the_pods_is_not_looked_into(stage: Stage) -> None:
    pod = stage.place.pod
    with standing.entered(pod.path, pod.handle.identity) as inner:
        assert "lo" in {each.name for each in inner.links()}
    with (
        pytest.raises(errors.NetnsError, match="is another namespace by now"),
        standing.entered(stage.place.world.path, pod.handle.identity),
    ):
        pass


def test_a_peer_may_be_a_pod_of_the_node(stage: Stage) -> None:
    put(stage, table(OPEN, peers=frozenset({policies.packed(V4.pod), policies.packed(V6.pod)})))
    assert stage.add().code == 0
    items = json.loads(sriovctl(stage, "policy", "x/a", "--from", "x/a", "--port", "8080", "-o", "json").stdout)[
        "items"
    ]
    assert {(*each["peers"], each["passes"]) for each in items} == {(V4.pod, True), (V6.pod, True)}


def harmed(stage: Stage, commands: str) -> None:
    with netns.entered(stage.place.pod.handle):
        nftables.run(commands)


@pytest.mark.parametrize(
    ("commands", "told"),
    [
        ("flush ruleset", f"the table {TABLE} is not there"),
        (f"flush chain inet {TABLE} input", rf"the table {TABLE} has \d+ rules, not \d+"),
        (f"delete table netdev {TABLE}", rf"the table {TABLE} has \d+ rules, not \d+"),
        (
            f"flush set inet {TABLE} s4_0123456789abcdef",
            r"the set s4_0123456789abcdef of the table \S+ lacks \d addresses",
        ),
        (f"delete chain inet {TABLE} enforced", f"the table {TABLE} has no digest, not "),
    ],
)
def test_what_a_pod_has_done_to_its_rules_is_told_until_it_is_restored(stage: Stage, commands: str, told: str) -> None:
    put(stage, table(OPEN))
    keys: dict[str, Any] = {"families": (V4,), "policyRaw": True}
    added = stage.add(**keys)
    assert added.code == 0
    previous = linked.network(policy="kubernetes", prevResult=added.document, **keys)
    assert stage.place.client.call("CHECK", previous, ARGS=policed.POD).code == 0
    daemon = stage.place.daemon
    daemon.send_signal(signal.SIGSTOP)  # it would restore them
    try:
        harmed(stage, commands)
        ran = sriovctl(stage, "policy", "x/a")
        assert re.search(f"^net1: not in force: {told}", ran.stdout, re.MULTILINE), ran
        assert ran.returncode == 1
    finally:
        daemon.send_signal(signal.SIGCONT)
    assert namespaces.until(lambda: sriovctl(stage, "policy", "x/a").returncode == 0), "it is restored"


def test_others_rules_are_no_reason_to_replace_those_for_packet_sockets(stage: Stage) -> None:
    put(stage, table(OPEN))
    assert stage.add(families=(V4,), policyRaw=True).code == 0
    time.sleep(policy_rounds.INTERVAL + 1)  # until the daemon has read its own rules: before, it would make them again
    harmed(stage, "add table inet theirs")
    generation = stage.generation
    time.sleep(policy_rounds.INTERVAL + 1)
    assert stage.generation == generation, "the daemon has looked, and has changed nothing"


def test_check_tells_of_rules_that_were_removed(stage: Stage) -> None:
    put(stage, table(DENY))
    added = stage.add(families=(V4,))
    previous = linked.network(families=(V4,), policy="kubernetes", prevResult=added.document)
    for _ in range(5):  # the daemon may restore them just then
        harmed(stage, "flush ruleset")
        answer = stage.place.client.call("CHECK", previous, ARGS=policed.POD)
        if answer.code:
            break
    assert (answer.code, f"the table {TABLE} is not there" in answer.message) == (101, True), answer
