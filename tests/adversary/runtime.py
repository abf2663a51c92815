"""Runtime of one schedule: a node under the adversary with arena, daemons, run directory, and a runtime's calls."""

import asyncio
import contextlib
import pathlib
import shutil
import time
from collections.abc import Callable

from sriov import devices
from sriov.linux import netns
from sriov.pools import assignment, observer, resources
from sriov.state import ledger
from tests.adversary import daemons, places

IFNAME = "net1"
_EVERY_VF = resources.Configuration((resources.Resource("example.com", "vfs"),))


class Runtime:
    """Has its own run directory and daemon, in an arena that is as new.

    `binds`: its daemons may bind drivers.
    """

    def __init__(
        self, stage: places.Stage, nursery: daemons.Nursery, folder: pathlib.Path, *, binds: bool = True
    ) -> None:
        self.stage = stage
        self.nursery = nursery
        self.run_dir = folder
        self.binds = binds
        self.socket = folder / "cni.sock"
        self.book = ledger.Ledger(folder)
        self._slowness = 1 if stage.is_mock else 10
        self._loop = asyncio.new_event_loop()
        place = observer.ObservedNode(stage.tree, pathlib.Path("/proc/thread-self"), folder / "dev", folder)
        self._observer = observer.Observer(place, observer.Patience(0, 0), lambda: None)
        stage.reset()
        self.start()

    def close(self) -> None:
        self.nursery.end_all()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)
        for log in self.run_dir.parent.glob(f"{self.run_dir.name}.*.log"):
            log.unlink()

    def start(self) -> daemons.Daemon:
        """Start one more daemon; it serves, unless another does."""
        before = self._inode()
        made = self.nursery.start(self.run_dir, binds=self.binds)
        _until(lambda: self._inode() not in (0, before) or not made.alive or len(self.nursery.daemons) > 1, 60)
        assert made.alive, made.log.read_text()
        return made

    def second(self) -> None:
        """Start another daemon beside the first, with a moment for what it might wrongly do at once."""
        before = self._inode()
        self.nursery.start(self.run_dir, binds=self.binds)
        _until(lambda: self._inode() != before, 0.1 * self._slowness)
        _until(lambda: not self.left_over(), 0.1 * self._slowness)

    def settled(self) -> None:
        """Wait until a daemon that has just started has repaired all it can, or reports why it cannot."""
        self.nursery.drain()
        _until(lambda: not (self.left_over() or self._twice()), 5 * self._slowness)

    def emptied(self) -> bool:
        """Wait until a daemon that has just started has repaired what it reported before, too; returns whether it has.

        `settled` does not wait for a VF with a reported problem, which may have passed only now.
        """
        _until(lambda: not self.records(), 5 * self._slowness)
        return not self.records()

    def _twice(self) -> bool:
        """Look twice: a working daemon may have been seen between two of its steps."""
        time.sleep(0.005)
        return bool(self.left_over())

    def left_over(self) -> list[ledger.Record]:
        """Return records of VFs that are in the host, without a reported problem."""
        return [each for each in self.records().values() if not each.problem and self.stage.tree.netdev(each.pci)]

    def records(self) -> dict[devices.PciAddress, ledger.Record]:
        return {record.pci: record for record in self.book.records()}

    def health(self) -> dict[str, str | None]:
        """Return what the device plugin would report to the kubelet: None for healthy, else the reason."""
        with netns.entered(self.stage.host):
            catalog, now = self._loop.run_until_complete(self._observer.look(time.monotonic()))
        [pool] = assignment.assign(catalog, _EVERY_VF, now)
        return {device.id: device.ailment for device in pool.devices}

    def call(
        self,
        command: str,
        network: dict[str, object],
        container: str,
        path: str,
        interruption: daemons.Interruption = daemons.NONE,
    ) -> daemons.Answer:
        env = {"COMMAND": command, "CONTAINERID": container, "NETNS": path, "IFNAME": IFNAME, "PATH": "/opt/cni/bin"}
        lease = {"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.7/24"}]}
        answer = self.nursery.call(self.socket, env, network, lease, interruption)
        self.stage.settle()
        return answer

    def _inode(self) -> int:
        with contextlib.suppress(OSError):
            return self.socket.stat().st_ino
        return 0


def _until(true: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.002)
