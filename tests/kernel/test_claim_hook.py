"""The claim hook under runc and crun, by the CDI spec that the driver writes: no container starts without its VFs.

A VF is attached when the CNI daemon's ledger says so; its record is written here.
"""

import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from sriov import devices
from sriov.linux import nsid
from tests.kernel import namespaces, runtimes
from tests.sriov_dra import hook_cases, hooks
from tests.sriov_dra.claims import claims
from tests.sriov_dra.claims.test_preparing import Bench

pytestmark = pytest.mark.root


@pytest.fixture
def pod() -> Iterator[namespaces.Namespace]:
    with namespaces.made("hook") as made:
        yield made


class Claimed(Bench):
    """A node where a claim of two VFs is prepared for a pod."""

    def __init__(self, root: pathlib.Path) -> None:
        super().__init__(root)
        self.put(claims.result(self.names[0], "a"), claims.result(self.names[1], "b"))
        self.prepare()
        self.bundle = runtimes.Bundle(root / "bundle")
        self.vfs = [devices.PciAddress(each.id) for each in self.found[:2]]

    @property
    def specs(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_bytes()) for path in (self.root / "cdi").glob("*.json")]

    def attach(self, netns: tuple[int, int]) -> None:
        for each in self.vfs:
            self.book.write(hook_cases.record(each, netns))

    def run(self, runtime: str, netns: str | None) -> str:
        """Return "" if the container ran, or what the runtime says."""
        done = self.bundle.run(runtime, netns, self.specs)
        assert (done.returncode == 0) is self.bundle.started.exists(), done.stderr
        assert done.returncode == 0 or "hook" in done.stderr, "it fails for no other reason"
        return "" if done.returncode == 0 else done.stderr


@pytest.fixture
def node(tmp_path: pathlib.Path) -> Claimed:
    return Claimed(tmp_path)


@pytest.mark.parametrize("runtime", runtimes.NAMES)
def test_a_pod_with_its_vfs_starts_and_one_without_fails_with_the_sentence(
    node: Claimed, pod: namespaces.Namespace, runtime: str
) -> None:
    """crun leaves a hook's stderr to nobody."""
    said = node.run(runtime, pod.path)
    assert said
    if runtime == "runc":
        assert f"VF {node.vfs[0]} of claim ml/rails is attached to no pod, so that this container would start" in said
        assert "remedy: name its network in the pod's annotation" in said
    node.attach(pod.handle.identity)
    for _ in ("an init container", "a second one", "one that starts again"):
        assert node.run(runtime, pod.path) == ""


@pytest.mark.parametrize("runtime", runtimes.NAMES)
def test_a_pod_on_the_hosts_network_fails_also_if_another_pod_has_the_vfs(
    node: Claimed, pod: namespaces.Namespace, runtime: str
) -> None:
    said = node.run(runtime, None)
    assert said
    if runtime == "runc":
        assert "cannot be in this pod, which is on the host's network; remedy: remove hostNetwork" in said
    node.attach(pod.handle.identity)
    said = node.run(runtime, None)
    assert said
    if runtime == "runc":
        assert "is attached to another network namespace than this container's" in said


def test_one_vf_of_two_is_not_enough(node: Claimed, pod: namespaces.Namespace) -> None:
    node.book.write(hook_cases.record(node.vfs[0], pod.handle.identity))
    assert f"VF {node.vfs[1]} of claim ml/rails is attached to no pod" in node.run("runc", pod.path)


def test_a_vf_with_a_userspace_driver_is_where_its_record_says(node: Claimed, pod: namespaces.Namespace) -> None:
    """It has no netdev that could be there: its attachment is the PF's settings, for this pod."""
    for each in node.vfs:
        found = hook_cases.record(each, pod.handle.identity)
        node.book.write(msgspec.structs.replace(found, driver="vfio-pci", mark=nsid.Mark((0, 0), 0, 0)))
    assert node.run("runc", pod.path) == ""


def test_a_hook_that_is_gone_fails_the_container(
    node: Claimed, pod: namespaces.Namespace, tmp_path: pathlib.Path
) -> None:
    node.attach(pod.handle.identity)
    (tmp_path / "plugin/sriov-claim-hook").unlink()
    assert "no such file" in node.run("runc", pod.path)


def test_the_sentence_is_in_the_hosts_log() -> None:
    """With a socket of this test in the place of journald's, below another /dev."""
    enter = 'mount -t tmpfs none /dev && touch /dev/log && mount --bind "$1/log" /dev/log && shift && exec "$@"'
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(f"{folder}/log")
        log.settimeout(30)
        program = shutil.copy(hooks.program(), folder)
        call = ["unshare", "--mount", "sh", "-c", enter, "sh", folder, program, folder, "ml/rails", hook_cases.VF]
        done = subprocess.run(call, input=hook_cases.state(), text=True, capture_output=True, check=False)
        sentence = f"VF {hook_cases.VF} of claim ml/rails cannot be in this pod, which is on the host's network"
        assert sentence in done.stderr
        assert sentence in log.recv(4096).decode()
