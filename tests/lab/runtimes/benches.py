"""The node under a container runtime: our daemon as a process, our shim and host-local where the runtime looks.

A program of the bench can be held: it waits at its start until it is let go, so that a kill in the middle of a start
hits where it is meant to.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from hack.story import stage

PROJECT = pathlib.Path(__file__).parents[3]
RECORDS = pathlib.Path("/run/sriov/vfs")
NAMESPACES = pathlib.Path("/run/netns")
_BUSYBOX = pathlib.Path("/run/lab/busybox")
_APPLETS = ("cat", "ip", "mv", "ping", "readlink", "sh", "sleep")
_HELD = """#!/bin/sh
if [ -e {folder}/hold ]; then touch {folder}/holding; fi
while [ -e {folder}/hold ]; do sleep 0.1; done
exec {program} "$@"
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """One VF of the first PF as a network of one container. A lost address shows: there is only this one."""

    name: str
    pci: str
    mac: str
    address: str
    vlan: int = 100
    ipam: str = "host-local"

    def conflist(self, leases: pathlib.Path) -> str:
        only = {"subnet": "10.57.0.0/16", "rangeStart": self.address, "rangeEnd": self.address}
        ipam = {"type": self.ipam, "dataDir": str(leases), "ranges": [[only]]}
        ours = {"type": "sriov", "deviceID": self.pci, "mac": self.mac, "vlan": self.vlan, "ipam": ipam}
        return json.dumps({"cniVersion": "1.0.0", "name": self.name, "plugins": [ours]})


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """What is there of containers: ledger records, host-local's leases, every VF as the next owner would find it."""

    records: frozenset[str]
    leases: frozenset[str]
    vfs: dict[str, stage.Seen]


class Bench:
    """`folder` holds everything: root file systems, plugins, leases, the runtimes' own state."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.plugins = folder / "plugins"
        self.leases = folder / "leases"
        self.plugins.mkdir(parents=True)
        shutil.copy(PROJECT / "sriov_cni/shim/shim.py", self.plugins / "sriov")
        shutil.copy(stage.HOST_LOCAL / "host-local", self.plugins)
        (self.plugins / "sriov").chmod(0o755)
        self.make_held(self.plugins / "held", self.plugins / "host-local")

    def make_held(self, path: pathlib.Path, program: pathlib.Path) -> None:
        path.write_text(_HELD.format(folder=self.folder, program=program))
        path.chmod(0o755)

    def root(self, name: str) -> pathlib.Path:
        """A new container's root file system. What the container writes is read from here."""
        root = self.folder / "roots" / name
        shutil.rmtree(root, ignore_errors=True)
        for folder in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
            (root / folder).mkdir(parents=True)
        shutil.copy(_BUSYBOX, root / "bin/busybox")
        for applet in _APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
        return root

    def left(self) -> Left:
        return Left(self.records(), self.leased(), stage.snapshot(stage.Igb()))

    def records(self) -> frozenset[str]:
        return frozenset(path.name for path in RECORDS.glob("*.json"))

    def leased(self) -> frozenset[str]:
        return frozenset(f"{path.parent.name}/{path.name}" for path in self.leases.glob("*/[0-9]*"))

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Whatever is held waits until the context ends."""
        (self.folder / "hold").touch()
        try:
            yield
        finally:
            (self.folder / "hold").unlink()
            (self.folder / "holding").unlink(missing_ok=True)

    def wait_held(self) -> None:
        until((self.folder / "holding").exists)

    def processes(self) -> list[int]:
        """Those that have to do with this bench: runtime, monitor, shim, plugins."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.folder).encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def kill_processes(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def spawn(command: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """A client of a runtime, with nothing to read; what it says is kept."""
    return subprocess.Popen(
        command, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def until(true: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.05)


@contextlib.contextmanager
def opened(folder: pathlib.Path) -> Iterator[Bench]:
    """A bench with the daemon running as on any node: its own directories, its own process."""
    bench = Bench(folder)
    with (folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen([sys.executable, "-m", "sriov_cni"], cwd=PROJECT, stdout=log, stderr=log)
    try:
        until((RECORDS.parent / "cni.sock").exists)
        yield bench
    finally:
        daemon.terminate()
        daemon.wait()
        shutil.rmtree(RECORDS.parent)
