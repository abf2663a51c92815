"""Benchmark of the device plugin as a process, on a built sysfs tree of 8 PFs, with the stand-in kubelet.

Everything is measured from outside, at the kubelet's end of the sockets, except the scan, which is timed in this
process. After a change of a VF comes an Allocate that is refused, since a built tree makes no uevents: it wakes the
plugin in the same way.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator

import grpc

from hack.benchmark import figures
from sriov import devices
from sriov.hardware import discovery, sysfs
from tests.fakes import kubelet as fake
from tests.fakes import procfs, sysfs_tree

MEMORY = pathlib.Path("/dev/shm")  # noqa: S108 (as sysfs and /run are on a node: not on a disk)
ROOT = pathlib.Path(__file__).parents[3]
PFS = 8
SMALL, LARGE = 16, 128  # VFs of each PF
CHANGES = 25
ALLOCATIONS = 1000
STARTS = 3


class Node:
    """A tree, a configuration with a pool for each PF, and a kubelet."""

    def __init__(self, root: pathlib.Path, vfs: int) -> None:
        self.root = root
        self.vfs = vfs * PFS
        self.tree = sysfs_tree.SysfsTree(root / "sys")
        procfs.Procfs(root / "proc")
        for number in range(PFS):
            netdev = sysfs.Netdev(f"p{number}", number + 2, f"52:54:00:00:00:{number:02x}", 1500)
            self.tree.add_pf(f"0000:{0x10 + number * 2:02x}:00.0", netdev, sysfs_tree.LARGE, numvfs=vfs)
        pools = [{"resourceName": f"pf{n}", "selectors": {"pfNames": [f"p{n}"]}} for n in range(PFS)]
        (root / "config.json").write_text(json.dumps({"resourceList": pools}))
        self.kubelet = fake.Kubelet(root)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "deviceplugin", *self.flags(), "--resync-interval=3600"]

    def flags(self) -> list[str]:
        places = {"sysfs": "sys", "procfs": "proc", "dev": "dev", "run-dir": "run", "devinfo-dir": "devinfo"}
        flags = [f"--{name}={self.root / place}" for name, place in places.items()]
        config = [f"--config-file={self.root}/config.json", f"--kubelet-root-dir={self.root}"]
        return [*config, *flags, "--log-level=error"]

    def known(self) -> bool:
        """Whether the kubelet has every VF."""
        return sum(len(listed) for listed in self.kubelet.resources.values()) == self.vfs


def measure(vfs: int = LARGE, changes: int = CHANGES) -> list[figures.Figure]:
    """Measure all figures, with so many VFs for each PF; takes some seconds."""
    return asyncio.run(_measure(vfs, changes))


async def _measure(vfs: int, changes: int) -> list[figures.Figure]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        small = await _starts(Node(pathlib.Path(folder) / "small", SMALL))
        node = Node(pathlib.Path(folder) / "large", vfs)
        large = await _starts(node)
        scan = figures.percentile([_scan(node) for _ in range(7)], 0.5)  # each like the first, without a cache
        async with running(node) as process:
            pushes = [await _change(node, number) for number in range(changes)]
            allocations = [await _allocate(node, number) for number in range(ALLOCATIONS)]
            resident, cpu = _resident(process.pid), _cpu(process.pid)
    return [
        figures.Figure("vfs", node.vfs),
        figures.Figure("start_to_registered_s", large, 1.0, "incumbent on such a tree: 2.25"),
        figures.Figure("start_to_registered_s_128_vfs", small, None, "incumbent on such a tree: 0.18"),
        figures.Figure("growth_128_to_1024_vfs", large / small, vfs / SMALL, "8 is linear; incumbent: 12.5"),
        figures.Figure("scan_ms", scan, 300),
        figures.Figure("change_to_push_ms_p50", figures.percentile(pushes, 0.5), 250),
        figures.Figure("change_to_push_ms_p99", figures.percentile(pushes, 0.99)),
        figures.Figure("allocate_ms_p50", figures.percentile(allocations, 0.5)),
        figures.Figure("allocate_ms_p99", figures.percentile(allocations, 0.99), 5),
        figures.Figure("rss_mb", resident, 56, "incumbent: 37 to 45"),
        figures.Figure("load_1m", os.getloadavg()[0], None, "of the machine, this benchmark's own included"),
        figures.Figure("cpu_s", cpu, None, "of the whole run; incumbent: 2.5 for the start alone"),
    ]


async def _starts(node: Node) -> float:
    """Return the median seconds from exec until the kubelet has every VF."""
    taken = []
    for _ in range(STARTS):
        began = time.perf_counter()
        async with running(node):
            taken.append(time.perf_counter() - began)
    return figures.percentile(taken, 0.5)


@contextlib.asynccontextmanager
async def running(node: Node, *flags: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run the plugin; yields once the kubelet has every VF."""
    await node.kubelet.start()
    with subprocess.Popen([*node.command(), *flags], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        try:
            await node.kubelet.wait_until(node.known, timeout=60)
            yield process
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)
            await node.kubelet.stop()


def _scan(node: Node) -> float:
    began = time.perf_counter()
    found = discovery.scan(node.tree.tree, node.root / "proc", node.root / "dev")
    assert len(found.candidates) == node.vfs + PFS
    return (time.perf_counter() - began) * 1000


async def _change(node: Node, number: int) -> float:
    """Return milliseconds from a VF's loss or gain of its driver until the kubelet knows."""
    vf = devices.pci_address("0000:10:00.1")
    bound = number % 2 == 1
    began = time.perf_counter()
    node.tree.set_driver(vf, "mlx5_core" if bound else None)
    with contextlib.suppress(grpc.aio.AioRpcError):
        await node.kubelet.request("intel.com/pf1", ["nobody"])
    await node.kubelet.wait_until(lambda: node.kubelet.resources["intel.com/pf0"][vf].healthy is bound, timeout=30)
    return (time.perf_counter() - began) * 1000


async def _allocate(node: Node, number: int) -> float:
    """Return milliseconds of one Allocate at the client."""
    resource = f"intel.com/pf{number % PFS}"
    ids = [one for one, device in node.kubelet.resources[resource].items() if device.healthy]
    began = time.perf_counter()
    await node.kubelet.request(resource, [ids[number % len(ids)]])
    return (time.perf_counter() - began) * 1000


def _resident(pid: int) -> float:
    """Return resident memory in MB of 2^20 bytes."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _cpu(pid: int) -> float:
    """Return seconds of CPU so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
