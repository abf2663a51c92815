"""Stage of `hack/bench attach`: links in a host, a pod's namespace for each, and our daemon.

All contenders have the same links and the same pods, one after another. Nothing of it outlives the run.
"""

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from hack.guest import errors
from sriov.hardware import sysfs
from sriov.linux import netlink, netns

ROOT = pathlib.Path(__file__).parents[3]
_MEMORY = pathlib.Path("/dev/shm")  # noqa: S108 (as sysfs and /run are on a node: not on a disk)
_START_SECONDS = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A VF's netdev in the host, and the pod that it goes to. `pf` is the index of its PF's netdev, None for a veth.

    `vf` is the VF's number at its PF, `address` its own.
    """

    name: str
    index: int
    pci: str
    pod: netns.Netns
    pod_path: str
    pf: int | None = None
    vf: int = 0
    address: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon of ours, in a folder of its own. `root` is the checkout whose code it runs."""

    root: pathlib.Path
    folder: pathlib.Path
    pid: int

    @property
    def socket(self) -> pathlib.Path:
        return self.folder / "run/cni.sock"

    def cpu(self) -> float:
        """Return milliseconds of CPU of its threads (proc(5), schedstat: nanoseconds)."""
        spent = 0
        for path in pathlib.Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # a thread that has ended meanwhile
                spent += int(path.read_text().split()[0])
        return spent / 1e6


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """`beside` is another checkout's daemon, on the same links; `tree` shows them. The calling thread is in `host`."""

    folder: pathlib.Path
    host: netns.Netns
    links: tuple[Link, ...]
    tree: sysfs.Tree
    daemon: Daemon
    beside: Daemon | None = None

    @property
    def has_pfs(self) -> bool:
        """Whether the links are VFs whose PF is on this machine."""
        return all(link.pf is not None for link in self.links)

    def is_whole(self) -> bool:
        """Whether every link is in the host under its name and its number, as at the start."""
        with contextlib.closing(netlink.Netlink()) as net:
            there = {link.name: link.index for link in net.links()}
        return all(there.get(link.name) == link.index for link in self.links)


@contextlib.contextmanager
def folder() -> Iterator[pathlib.Path]:
    """Make the folder in memory if there is such a file system."""
    memory = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="bench-", dir=memory) as made:
        yield pathlib.Path(made)


@contextlib.contextmanager
def daemons(
    place: pathlib.Path, beside: pathlib.Path | None, module: str, *options: str
) -> Iterator[tuple[Daemon, Daemon | None]]:
    """Run ours, and that of the checkout `beside`, in a run directory of its own."""
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(_daemon(ROOT, place, module, *options))
        if beside is None:
            yield own, None
            return
        (place / "beside").mkdir()
        yield own, stack.enter_context(_daemon(beside, place / "beside", module, *options))


@contextlib.contextmanager
def _daemon(root: pathlib.Path, place: pathlib.Path, module: str, *options: str) -> Iterator[Daemon]:
    """Run it in the calling thread's namespace; yields when it listens. LabError if it does not start."""
    options = (f"--run-dir={place}/run", f"--policy={place}/none", f"--predecessor-dir={place}/none", *options)
    command = [sys.executable, "-m", module, "--log-level=error", *options]
    environment, log = os.environ | {"PYTHONPATH": str(root)}, place / "daemon.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(command, cwd=root, env=environment, stderr=said) as process,
    ):
        made, deadline = Daemon(root, place, process.pid), time.monotonic() + _START_SECONDS
        try:
            while not made.socket.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise errors.LabError(f"the daemon of {root} has not started: {log.read_text()}")
                time.sleep(0.01)
            yield made
        finally:
            process.terminate()


@contextlib.contextmanager
def namespaces(purposes: Sequence[str]) -> Iterator[list[str]]:
    """Make them; yields their names, for `ip -n`."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_namespace(purpose)) for purpose in purposes]


def path(namespace: str) -> str:
    return f"/run/netns/{namespace}"


@contextlib.contextmanager
def _namespace(purpose: str) -> Iterator[str]:
    name = f"sriov-bench-{os.getpid()}-{purpose}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
