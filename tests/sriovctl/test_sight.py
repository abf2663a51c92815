"""In a container of the image only what is mounted is the node's: what is not is unseen, and never a fault."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from sriov.state import ledger
from sriovctl import exit_codes, sight
from tests.sriovctl import nodes
from tests.sriovctl.commands import test_doctor

FALSE = {"config-bad", "policy-bad", "kubelet-missing", "not-registered", "no-pod-resources", "plugin-missing"}
FALSE |= {"daemon-down", "no-network", "ledger-unreadable"}
MOUNTED = (
    "config.json",
    "run",
    "cache",
    "kubelet/device-plugins",
    "kubelet/pod-resources",
    "bin",
    "net.d",
    "policy.json",
)


@pytest.fixture
def sick(node: nodes.Node) -> Iterator[test_doctor.Sick]:
    made = test_doctor.Sick(node)
    yield made
    made.close()


class Inside:
    """The node as a container of the image sees it: what is not mounted is not there."""

    def __init__(self, sick: test_doctor.Sick, *mounted: str) -> None:
        self.node = sick.node
        (sick.folder / "image").touch()
        (sick.folder / "proc/self").mkdir(exist_ok=True)
        there = ["/", *(str((sick.folder / name).resolve()) for name in mounted)]
        lines = [f"{number} 1 0:1 / {path} ro - tmpfs x ro\n" for number, path in enumerate(there)]
        (sick.folder / "proc/self/mountinfo").write_text("".join(lines))
        self._moved = {
            each.split("=")[0]: f"{each.split('=')[0]}={sick.folder}/not-mounted/{pathlib.Path(each).name}"
            for each in sick.node.places
            if not any(
                f"/{name}".startswith(f"/{pathlib.Path(each).name}") for name in (*mounted, "sys", "proc", "dev")
            )
        }

    def run(self, *arguments: str) -> nodes.Ran:
        places = [self._moved.get(each.split("=")[0], each) for each in self.node.places]
        return nodes.run(*places, f"--image={self.node.folder}/image", *arguments)


def test_with_everything_mounted_the_answers_are_the_hosts(sick: test_doctor.Sick) -> None:
    inside = Inside(sick, *MOUNTED, sick.node.bench.machine.path("pod"))
    with sick.node.serving(), sick.node.kubelet():
        assert sick.node.cni("ADD").code == 0
        for command in (["inventory"], ["explain", sick.node.vf], ["doctor"], ["attachments"], ["topology"]):
            host, here = (node.run(*command, "-o", "json") for node in (sick.node, inside))
            unseen = here.document["unseen"]
            assert (here.status, here.document | {"unseen": []}) == (host.status, host.document)
            assert [each.split(":")[0] for each in unseen] == ([] if command != ["doctor"] else ["network managers"])


def test_with_nothing_mounted_there_is_no_false_fault(sick: test_doctor.Sick) -> None:
    inside = Inside(sick)
    ran = inside.run("doctor", "-o", "json")
    assert not FALSE & {each["finding"] for each in ran.document["items"]}
    assert ran.status == exit_codes.Exit.UNREADABLE
    named = {each.split(":")[0] for each in ran.document["unseen"]}
    assert named == {
        "pools and health",
        "pods",
        "owners",
        "VFs that sriov-cni attached",
        "the node's policy",
        "what is registered",
        "the CNI plugin",
    } | {
        "networks",
        "network managers",
    }
    assert all(each.endswith("is not mounted in this container; use the container sriovctl of its pod")
               for each in ran.document["unseen"])  # fmt: skip


def test_explain_makes_no_reason_of_what_is_not_mounted(sick: test_doctor.Sick) -> None:
    inside = Inside(sick)
    for name in ("web", sick.node.vf):
        ran = inside.run("explain", name, "-o", "json")
        answers = {each["step"]: each["answer"] for each in ran.document["items"]}
        assert (ran.status, ran.document["reason"]) == (exit_codes.Exit.UNREADABLE, None), ran.document
        assert answers["daemon"] == "cannot tell"
    assert {answers["pool"], answers["owner"]} == {"cannot tell"}


def test_a_namespace_that_this_container_does_not_have_is_no_lost_pod(sick: test_doctor.Sick) -> None:
    """Docker's is /proc/PID/ns/net: in a container that is another process."""
    book = sick.node.bench.book
    record = test_doctor.attach(sick)
    book.write(msgspec.structs.replace(record, owner=msgspec.structs.replace(record.owner, netns="/proc/77/ns/net")))
    inside = Inside(sick, *MOUNTED)
    with sick.node.serving(), sick.node.kubelet():
        [host], [here] = (node.run("attachments", "-o", "json").document["items"] for node in (sick.node, inside))
        assert (host["state"], here["state"]) == ("no namespace", "unseen")
        explained = inside.run("explain", sick.node.vf)
        released = inside.run("attachments", "release", sick.node.vf, "--yes")
    assert (explained.status, released.status) == (exit_codes.Exit.UNREADABLE, exit_codes.Exit.REFUSED)
    assert "sriovctl on the node itself" in released.err
    assert isinstance(book.read(record.pci), ledger.Record)


def test_what_is_below_a_mount_is_seen_by_its_real_path(tmp_path: pathlib.Path) -> None:
    (tmp_path / "run/netns").mkdir(parents=True)
    (tmp_path / "var-run").symlink_to(tmp_path / "run")
    here = sight.Visibility(frozenset({str(tmp_path.resolve() / "run/netns")}))
    assert here.sees(tmp_path / "var-run/netns/one")
    assert not here.sees(tmp_path / "var-run/other")
    assert here.sees_namespace(str(tmp_path / "run/netns/one"))
    assert here.sees_namespace("")
    assert sight.Visibility().sees_namespace("/proc/1/ns/net")


@pytest.mark.root
def test_a_folder_that_this_user_may_not_list_is_not_empty(sick: test_doctor.Sick) -> None:
    """Another user's, as /opt/cni/bin may be: uid 0 without capabilities may not list that either."""
    (sick.folder / "net.d/10-sriov.conf").unlink()
    os.chown(sick.folder / "net.d", 65534, 65534)
    (sick.folder / "net.d").chmod(0o700)
    doctor = [sys.executable, "-m", "sriovctl", *sick.node.places, "doctor"]
    ran = subprocess.run(["setpriv", "--bounding-set=-all", *doctor], capture_output=True, text=True, check=False)
    assert "no-network" not in ran.stdout
    assert f"not seen: networks: {sick.folder}/net.d belongs to another user" in ran.stderr
