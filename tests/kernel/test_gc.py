"""GC on real namespaces (root): a daemon as a process, in a namespace that plays the host, with veths for VFs."""

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from sriov import settings
from sriov.linux import kernel, netlink
from sriov.state import ledger
from tests.fakes import mock_node
from tests.kernel import namespaces
from tests.sriov_cni import harness

pytestmark = pytest.mark.root
PROJECT = pathlib.Path(__file__).parents[2]


@contextlib.contextmanager
def node(folder: pathlib.Path, *further: str) -> Iterator[mock_node.MockNode]:
    """A node whose daemon, with `further` options, serves folder/run/cni.sock."""
    with contextlib.closing(mock_node.MockNode(folder, pfs=1, vfs=2)) as made, daemon(made, folder, *further):
        yield made


@contextlib.contextmanager
def daemon(
    made: mock_node.MockNode, folder: pathlib.Path, *further: str, before: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """The node's daemon, which may be started again when it has ended. The command line `before` starts it.

    It ends by SIGKILL: a daemon that is asked to end announces the addresses of its pods first, for a second.
    """
    options = ["--sysfs", str(made.sysfs_root), "--run-dir", str(folder / "run"), *further]
    command = made.command(*before, sys.executable, "-P", "-m", "tests.fakes.cni_daemon", str(folder), *options)
    with subprocess.Popen(command, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)}) as process:
        try:
            deadline = time.monotonic() + 20
            while not (folder / "run/cni.sock").exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield process
        finally:
            process.kill()
            (folder / "run/cni.sock").unlink(missing_ok=True)


def links(pod: namespaces.Namespace) -> dict[str, kernel.Link]:
    with contextlib.closing(netlink.Netlink()) as net, net.inside(pod.handle) as inner:
        return {link.name: link for link in inner.links()}


def test_c69_a_vf_that_is_still_in_its_pod_is_brought_home(tmp_path: pathlib.Path) -> None:
    """The runtime may say that an attachment is over while its namespace lives."""
    stale, kept = "0000:01:10.0", "0000:01:10.2"
    with node(tmp_path) as here, namespaces.made("pod") as pod:
        before = here.netdev(stale)
        client = harness.Client(tmp_path / "run/cni.sock", "", pod.path)
        keys = {"vlan": 100, "mac": "02:00:00:00:cc:01"}
        for number, vf in ((1, stale), (2, kept)):
            own = {"CONTAINERID": f"c{number}", "IFNAME": f"net{number}"}
            answer = client.call("ADD", harness.configuration(vf, **(keys if vf == stale else {})), **own)
            assert answer.code == 0, answer
        assert {"net1", "net2"} <= links(pod).keys()
        remaining = links(pod)["net2"]
        valid = {"cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "net2"}]}
        answer = client.call("GC", harness.configuration(stale, **valid), CONTAINERID="", NETNS="", IFNAME="")
        assert (answer.code, answer.stdout) == (0, ""), answer
        assert here.netdev(stale) == before
        assert here.vf_settings(stale) == settings.BASELINE
        assert links(pod) == {"lo": links(pod)["lo"], "net2": remaining}
        assert [record.pci for record in ledger.Ledger(tmp_path / "run").records()] == [kept]
        # A veth dies with its namespace, so the other goes home before.
        assert client.call("DEL", harness.configuration(kept), CONTAINERID="c2", IFNAME="net2").code == 0
