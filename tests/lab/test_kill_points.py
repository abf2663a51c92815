"""The real daemon is killed after each request to the real kernel, of ADD and of DEL, and another is started.

tests/crash has every point, each byte of a record too, on the kernel in memory; here are those at which the real
kernel and its drivers have a say. I1 to I6 as there. F2, F4, F5, F12, C45.
"""

import contextlib
import itertools
import os
import pathlib
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from sriov import settings
from sriov.hardware import sysfs
from sriov.state import ledger
from sriov_cni import app as daemon
from tests.kernel import namespaces
from tests.lab import igb, mortal_kernel, shims
from tests.sriov_cni import harness

VF = 4
MAC = "02:00:00:00:ce:01"
IPAM_PLUGINS = "/usr/lib/cni"


class Node:
    """The guest's VF, its ledger, its leases, and a runtime that calls whichever daemon there is."""

    def __init__(self, folder: pathlib.Path, home: sysfs.Netdev) -> None:
        self.folder = folder
        self.home = home
        self.pci = igb.vf(VF).pci
        self.run_dir = folder / "run"
        self.leases = folder / "leases"
        ranges = [[{"subnet": "192.0.2.0/24"}]]
        ipam = {
            "type": "host-local",
            "dataDir": str(self.leases),
            "ranges": ranges,
            "routes": [{"dst": "198.51.100.0/24"}],
        }
        wanted = {"vlan": 100, "vlanQoS": 3, "mac": MAC, "trust": "on"}
        self.network = harness.configuration(self.pci, cniVersion="1.0.0", ipam=ipam, **wanted)

    @contextlib.contextmanager
    def daemon(self, last: int = mortal_kernel.NEVER) -> Iterator[None]:
        """A daemon in a process of its own, which a fork starts at once and an emulated CPU takes seconds for."""
        socket = self.run_dir / "cni.sock"
        socket.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            self._serve(last)
        try:
            until(socket.exists)
            yield
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def _serve(self, last: int) -> None:
        """Serve, in the child: nothing of the parent runs in it."""
        try:
            flags = ["--run-dir", str(self.run_dir), "--policy", str(self.folder / "none"), "--log-level", "error"]
            daemon.main(flags, mortal_kernel.opener(last))
        finally:
            os._exit(1)

    def call(self, command: str, container: str, pod: namespaces.Namespace | None) -> harness.Answer:
        client = harness.Client(self.run_dir / "cni.sock", IPAM_PLUGINS, pod.path if pod else "", shims.quick())
        return client.call(command, self.network, CONTAINERID=container)

    def assert_given(self, pod: namespaces.Namespace) -> None:
        with igb.opened() as net, net.inside(pod.handle) as inner:
            link = inner.link("net1")
            assert (link.address, link.parent, link.up) == (MAC, self.pci, True)
            assert net.vf(igb.pf_index(), VF) == settings.VfSettings(mac=MAC, vlan=100, qos=3, trust=True)
            assert len([each for each in inner.addresses(link.index) if each.version == 4]) == 1

    def assert_settled(self) -> None:
        """I1, I2, I5, I6: nobody has anything."""
        assert igb.TREE.netdev(self.pci) == self.home
        with igb.opened() as net:
            link = net.link(self.home.index)
            assert not link.up
            assert net.addresses(link.index) == ()
            found = net.vf(igb.pf_index(), VF)
        # igb shows the VF's own address where none is administered.
        assert found in (settings.BASELINE, settings.VfSettings(mac=self.home.address))
        assert list(ledger.Ledger(self.run_dir).records()) == []
        assert [path.name for path in self.leases.glob("n1/192.*")] == []
        assert {path.name for path in self.folder.iterdir()} <= {"run", "leases"}


@pytest.fixture
def here(tmp_path: pathlib.Path) -> Iterator[Node]:
    with igb.borrowed(VF) as home:
        yield Node(tmp_path, home)


def killed(here: Node, last: int, command: str, pod: namespaces.Namespace) -> bool:
    """Whether the daemon died in this call after its `last` request; if not, it has done what it should."""
    with here.daemon(last):
        answer = here.call(command, "c1", pod)
    assert answer.code in (0, 11), answer
    return answer.code == 11


def follow(here: Node, pod: namespaces.Namespace | None) -> None:
    """What comes after: DEL twice, then another pod has the VF, and its DEL."""
    with here.daemon(), namespaces.made("next") as other:
        for _ in range(2):
            assert here.call("DEL", "c1", pod).code == 0, "I3"
        here.assert_settled()
        assert here.call("ADD", "c2", other).code == 0, "I4"
        here.assert_given(other)
        assert here.call("DEL", "c2", other).code == 0
    here.assert_settled()


def test_a_death_after_each_request_of_an_add(here: Node) -> None:
    for last in itertools.count():
        with namespaces.made("pod") as pod:
            died = killed(here, last, "ADD", pod)
            if not died:
                here.assert_given(pod)
            follow(here, pod)
        if not died:
            assert last > 6, "the call has hardly any requests: is it made?"
            return


def test_a_death_after_each_request_of_an_add_whose_namespace_then_dies(here: Node) -> None:
    """The kernel brings home whatever had moved; the runtime does not know the namespace any more."""
    for last in itertools.count():
        with namespaces.made("pod") as pod:
            died = killed(here, last, "ADD", pod)
        until(lambda: igb.TREE.netdev(here.pci) is not None)
        follow(here, None)
        if not died:
            assert last > 6, "the call has hardly any requests: is it made?"
            return


def test_a_death_after_each_request_of_a_del(here: Node) -> None:
    for last in itertools.count():
        with namespaces.made("pod") as pod:
            with here.daemon():
                assert here.call("ADD", "c1", pod).code == 0
            died = killed(here, last, "DEL", pod)
            follow(here, pod)
        if not died:
            assert last > 3, "the call has hardly any requests: is it made?"
            return


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
