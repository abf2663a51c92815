"""The stage of `hack/bench attach`: veths in a namespace that plays the host, a pod's namespace for each, our daemon.

Everybody who is measured has the same links and the same pods, one after another. Nothing of it outlives the run.
"""

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from sriov import netlink, netns, sysfs
from tests.fakes import sysfs_tree

ROOT = pathlib.Path(__file__).parents[2]
_MEMORY = pathlib.Path("/dev/shm")  # noqa: S108 (as sysfs and /run are on a node: not on a disk)
_VF = sysfs_tree.Model(pf_device="10ca", pf_driver="igbvf")
_MTU = 1500
_START_SECONDS = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A veth's end in the host, which the built sysfs shows as the netdev of a VF; and the pod that it goes to."""

    name: str
    index: int
    pci: str
    pod: netns.Netns
    pod_path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """`folder` is in memory, `socket` the daemon's. The calling thread is in `host`."""

    folder: pathlib.Path
    host: netns.Netns
    links: tuple[Link, ...]
    socket: pathlib.Path
    daemon: int

    def is_whole(self) -> bool:
        """Every link is in the host under its name and its number, as at the start."""
        with contextlib.closing(netlink.Netlink()) as net:
            there = {link.name: link.index for link in net.links()}
        return all(there.get(link.name) == link.index for link in self.links)

    def daemon_cpu(self) -> float:
        """Milliseconds of CPU that the daemon's threads have had (proc(5), schedstat: nanoseconds)."""
        spent = 0
        for path in pathlib.Path(f"/proc/{self.daemon}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # a thread that has ended meanwhile
                spent += int(path.read_text().split()[0])
        return spent / 1e6


@contextlib.contextmanager
def opened(count: int, pods: int | None = None) -> Iterator[Stage]:
    """A stage with that many links, for each a pod unless `pods` says how many there are. Needs root and iproute2."""
    with contextlib.ExitStack() as stack:
        memory = _MEMORY if _MEMORY.is_dir() else None
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=memory)))
        names = ("host", "far", *(f"pod{number}" for number in range(pods or count)))
        host, far, *made = [stack.enter_context(_namespace(name)) for name in names]
        _ip_batch(host, (_veth(number, far) for number in range(count)))
        _ip_batch(far, (f"link set far{number} up" for number in range(count)))
        handle = stack.enter_context(netns.open_path(_path(host)))
        stack.enter_context(netns.entered(handle))
        links = tuple(_link(stack, number, made[number % len(made)]) for number in range(count))
        _show(folder / "sys", links)
        process = stack.enter_context(_daemon(folder))
        yield Stage(folder, handle, links, folder / "run/cni.sock", process.pid)


def _link(stack: contextlib.ExitStack, number: int, pod: str) -> Link:
    pci = f"0000:{0x10 + number // 32:02x}:{number % 32:02x}.0"
    with contextlib.closing(netlink.Netlink()) as net:
        index = net.link(f"vf{number}").index
    return Link(f"vf{number}", index, pci, stack.enter_context(netns.open_path(_path(pod))), _path(pod))


def _show(root: pathlib.Path, links: tuple[Link, ...]) -> None:
    tree = sysfs_tree.SysfsTree(root)
    for number, link in enumerate(links):
        tree.add_plain_nic(link.pci, sysfs.Netdev(link.name, link.index, _address(number), _MTU), _VF)


@contextlib.contextmanager
def _daemon(folder: pathlib.Path) -> Iterator[subprocess.Popen[bytes]]:
    options = [f"--run-dir={folder}/run", f"--policy={folder}/none", f"--predecessor-dir={folder}/none"]
    command = [sys.executable, "-m", "hack.benchmark.veth_daemon", "--sysfs", str(folder / "sys"), *options]
    log = folder / "daemon.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [*command, "--log-level=error"], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=said
        ) as process,
    ):
        deadline = time.monotonic() + _START_SECONDS
        while not (folder / "run/cni.sock").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the daemon has not started: {log.read_text()}")
            time.sleep(0.01)
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def _namespace(purpose: str) -> Iterator[str]:
    name = f"sriov-bench-{os.getpid()}-{purpose}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _ip_batch(namespace: str, commands: Iterator[str]) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(commands).encode(), check=True)


def _veth(number: int, far: str) -> str:
    address = _address(number)
    return f"link add vf{number} address {address} type veth peer name far{number} netns {far}"


def _address(number: int) -> str:
    return f"02:00:00:bb:{number >> 8:02x}:{number & 0xFF:02x}"


def _path(namespace: str) -> str:
    return f"/run/netns/{namespace}"
