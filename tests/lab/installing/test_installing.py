"""From a node without anything of ours, over an upgrade under load and back, to a node without anything of ours.

What is installed is what the wheel holds: units, native shim, programs. A real systemd runs the units with their whole
sandbox. All 56 VFs are igb's: six cards are plugged in beside the two that the guest boots with. Fifty of them are held
by ten pods throughout; six are attached and detached without a pause.

Folders that belong to others are there before: the kubelet's, the runtime's /run/cdi, Multus' /run/k8s.cni.cncf.io.
What Multus is told of a VF stays there until the node boots, by design (D39), and nothing else does.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from hack.story import stage
from sriov_installer import marks
from tests import artefacts
from tests.examples import table
from tests.kernel import namespaces
from tests.lab import cnis
from tests.lab.installing import nodes

HELD, PER_POD, CHURNING = 50, 5, 3
CNI_DAEMON, DEVICE_PLUGIN = "sriov-cni-daemon", "sriov-device-plugin"
CNI_CAPABILITIES = 1 << 12 | 1 << 13 | 1 << 21
"""NET_ADMIN, NET_RAW, SYS_ADMIN (include/uapi/linux/capability.h)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A VF that a pod has all the time."""

    number: int
    pci: str
    pod: namespaces.Namespace

    @property
    def ifname(self) -> str:
        return f"net{self.number % PER_POD}"

    @property
    def mac(self) -> str:
        return f"02:00:00:00:77:{self.number:02x}"

    @property
    def vlan(self) -> int:
        return 100 + self.number

    def add(self, node: nodes.Node) -> None:
        node.call("ADD", self.pod, self.pci, self.ifname, mac=self.mac, vlan=self.vlan)

    def delete(self, node: nodes.Node) -> None:
        node.call("DEL", self.pod, self.pci, self.ifname)


@contextlib.contextmanager
def attached(node: nodes.Node, pcis: Sequence[str]) -> Iterator[list[Held]]:
    with contextlib.ExitStack() as stack:
        pods = [stack.enter_context(namespaces.made("steady")) for _ in range(HELD // PER_POD)]
        held = [Held(number, pci, pods[number // PER_POD]) for number, pci in enumerate(pcis)]
        for_all(held, lambda each: each.add(node))
        yield held
        for_all(held, lambda each: each.delete(node))


def for_all(held: Sequence[Held], do: Callable[[Held], None]) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(do, held))


def assert_unchanged(held: Sequence[Held]) -> None:
    """Each pod has its VFs with their MACs, and each PF its VFs with their VLANs."""
    for pod in {each.pod.name: each.pod for each in held}.values():
        there = {name: (link.parent, link.address, link.up) for name, link in cnis.links(pod).items() if name != "lo"}
        assert there == {each.ifname: (each.pci, each.mac, True) for each in held if each.pod is pod}
    seen = stage.snapshot(stage.Igb())
    assert {each.pci: seen[each.pci].settings.vlan for each in held} == {each.pci: each.vlan for each in held}


class Churn:
    """Pods that come and go, each for its own VFs. A failure is any answer but success and "try again later"."""

    def __init__(self, node: nodes.Node, pcis: Sequence[str]) -> None:
        self._node, self._done = node, threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(CHURNING)
        self._running = [self._pool.submit(self._churn, pcis[number::CHURNING]) for number in range(CHURNING)]
        self.pairs: list[str] = []

    def _churn(self, pcis: Sequence[str]) -> None:
        while not self._done.is_set():
            with namespaces.made("brief") as pod:
                for pci in pcis:
                    self._node.call("ADD", pod, pci, "net1", vlan=7)
                    self._node.call("DEL", pod, pci, "net1")
                    self.pairs.append(pci)

    def goes_on(self) -> None:
        """Until as many pairs as there are VFs have come and gone."""
        before = len(self.pairs)
        enough = namespaces.until(lambda: len(self.pairs) > before + 2 * CHURNING or self._failed(), 60)
        assert enough, self._node.systemd.journal()
        assert not self._failed(), [each.exception() for each in self._running if each.done()]

    def _failed(self) -> bool:
        return any(each.done() for each in self._running)

    def end(self) -> None:
        self._done.set()
        self._pool.shutdown()
        for each in self._running:
            each.result()


def assert_from_the_wheel(proc: pathlib.Path, capabilities: int) -> None:
    """Confined as its unit says, and without a way to the checkout."""
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert int(status["CapBnd"], 16) == capabilities
    assert "PYTHONPATH" not in (proc / "environ").read_text()
    assert (proc / "cwd").readlink() == pathlib.Path("/")


def assert_imports_are_installed(node: nodes.Node, version: str) -> None:
    prefix = artefacts.INSTALLED / version
    where = "import sriov, sriov_cni; print(sriov.__path__[0], sriov_cni.__path__[0])"
    told = node.systemd.run(str(prefix / "bin/python"), "-c", where)
    assert [path.startswith(f"{prefix}/lib/") for path in told.stdout.split()] == [True, True], told
    assert node.systemd.run("ls", str(artefacts.PROJECT / "sriov")).stdout == ""


def enable_as_the_readme_does(node: nodes.Node) -> None:
    [example] = table.run_by(__file__, "enable_as_the_readme_does")
    done = node.systemd.run("sh", "-c", example.command)
    assert done.returncode == 0, done.stderr + node.systemd.journal()


def assert_served(node: nodes.Node, version: str) -> None:
    assert_from_the_wheel(node.awaited(version, CNI_DAEMON), CNI_CAPABILITIES)
    assert_from_the_wheel(node.awaited(version, DEVICE_PLUGIN), 0)
    shim = (nodes.CNI / "sriov").read_bytes()
    assert (shim[:4], marks.version_of(shim)) == (b"\x7fELF", version)


def assert_crashes_are_survived(node: nodes.Node, version: str) -> None:
    """Of both daemons: systemd starts the program again, and the log has the stacks of the one that died."""
    for program, unit in ((CNI_DAEMON, "sriov-cni.service"), (DEVICE_PLUGIN, "sriov-device-plugin.service")):
        crashed = node.awaited(version, program)
        os.kill(int(crashed.name), signal.SIGSEGV)
        assert namespaces.until(lambda: not crashed.exists())  # noqa: B023
        assert node.awaited(version, program) != crashed
        told = node.systemd.run("journalctl", "--no-pager", f"--unit={unit}").stdout
        assert "Fatal Python error: Segmentation fault" in told, told


def test_what_another_test_has_left_is_named_before_anything_is_done(request: pytest.FixtureRequest) -> None:
    nodes.RUN.mkdir()
    try:
        with pytest.raises(pytest.fail.Exception, match=f"of ours: {nodes.RUN}; "):
            request.getfixturevalue("node")
    finally:
        nodes.RUN.rmdir()


def test_install_upgrade_downgrade_and_uninstall(node: nodes.Node) -> None:
    files, vfs = nodes.listing(), stage.snapshot(stage.Igb())
    assert len(vfs) == 56
    assert_imports_are_installed(node, artefacts.VERSION)
    node.succeeds(artefacts.VERSION, "install")
    enable_as_the_readme_does(node)
    assert_served(node, artefacts.VERSION)
    assert_crashes_are_survived(node, artefacts.VERSION)
    node.ask_kubelet(do="wait", resource=nodes.POOL, devices=len(vfs), timeout=55)
    given = node.ask_kubelet(do="allocate", pod="steady", resource=nodes.POOL, count=HELD)["envs"]
    pcis = str(given[nodes.VARIABLE]).split(",")
    with attached(node, pcis) as held:
        assert_unchanged(held)
        churn = Churn(node, sorted({*vfs} - {*pcis}))
        try:
            churn.goes_on()
            for version in (artefacts.NEXT, artefacts.VERSION):
                node.succeeds(version, "install", "--enable")
                assert_served(node, version)
                churn.goes_on()
        finally:
            churn.end()
        assert_unchanged(held)
        assert {record.pci for record in nodes.records()} == {*pcis}
        refused = node.installer(artefacts.VERSION, "uninstall")
        assert (refused.returncode, "pods still hold VFs" in refused.stderr) == (1, True), refused
    assert nodes.records() == []
    node.succeeds(artefacts.VERSION, "uninstall")
    left = nodes.listing()
    assert left.keys() - files.keys() == nodes.device_info(pcis) - files.keys()
    assert files.items() <= left.items()
    assert stage.snapshot(stage.Igb()) == vfs
