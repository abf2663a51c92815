"""DRA driver: what publishing, preparing and unpreparing cost, and how soon a link that is down is a taint.

Building, preparing and unpreparing are timed in this process, with a stand-in for the GET that answers at once, so that
what is measured is beyond it; what a pod without a claim pays, with the CNI daemon as a process (`passing`); the rest
with the driver as a process beside a stand-in API server and kubelet.
"""

import asyncio
import pathlib
import re
import tempfile
import time
from collections.abc import Callable

import msgspec

from hack.benchmark import figures
from hack.benchmark.kubelet import claim_adds, passing
from sriov import devices
from sriov.hardware import sysfs
from sriov.pools import health
from sriov_dra import snapshot
from sriov_dra.claims import preparing
from sriov_dra.publishing import slicing
from tests.deviceplugin import loops
from tests.fakes import sysfs_tree
from tests.sriov_dra import processes
from tests.sriov_dra.claims import claims, test_preparing
from tests.sriov_dra.publishing import test_slices

VFS = 1024
ROUNDS = 300
_AT_ONCE = 64
_PF = devices.PciAddress("0000:10:00.0")
_DEBOUNCE_MS = 1000  # observer.Patience.link
_MODEL = sysfs_tree.Model("15b3", "1017", "1018", "mlx5_core", "mlx5_core", totalvfs=VFS, offset=1, stride=1)


def measure(vfs: int = VFS, rounds: int = ROUNDS, adds: int = claim_adds.PAIRS) -> list[figures.Figure]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="d") as name:
        root = pathlib.Path(name)
        (root / "claims").mkdir()
        passed = passing.measure(root / "cni", rounds)
        inside = [*_building(vfs), *_preparing(root / "claims", rounds), *passed, *_process(root, vfs)]
    return [*inside, *claim_adds.measure(adds)]


def _building(vfs: int) -> list[figures.Figure]:
    pool, taken, size = test_slices.pool(test_slices.vfs(vfs)), [], 0
    for _ in range(20):
        began = time.thread_time()
        made = slicing.pools(test_slices.NODE, test_slices.DRIVER, [pool], health.NONE)
        size = len(msgspec.json.encode(made))
        taken.append((time.thread_time() - began) * 1000)
    found = figures.percentile(taken, 0.5)
    return [figures.Figure(f"build_and_encode_{vfs}_vfs_ms", found, 10.0, f"CPU; {size / 1000:.0f} kB")]


def _preparing(root: pathlib.Path, rounds: int) -> list[figures.Figure]:
    bench = _Settled(root, count=_AT_ONCE)
    references = [preparing.ClaimReference("ml", f"c{number}", f"u{number}") for number in range(_AT_ONCE)]
    for each, name in zip(references, bench.names, strict=True):
        bench.put(claims.result(name), uid=each.uid, name=each.name)
    prepared, unprepared = [], []
    for number in range(rounds):
        reference = references[number % _AT_ONCE]
        prepared.append(_timed(lambda wanted=reference: bench.prepare(wanted)))  # type: ignore[misc]
        unprepared.append(_timed(lambda wanted=reference: bench.preparer.unprepare(wanted)))  # type: ignore[misc]
    at_once = _timed(lambda: asyncio.run(_all(bench, references)))
    return [
        figures.Figure("prepare_beyond_its_get_ms_p50", figures.percentile(prepared, 0.5), 3.0),
        figures.Figure("prepare_beyond_its_get_ms_p99", figures.percentile(prepared, 0.99), 10.0),
        figures.Figure("prepare_64_claims_at_once_ms", at_once, 100.0),
        figures.Figure("unprepare_ms_p50", figures.percentile(unprepared, 0.5), 2.0),
    ]


class _Settled(test_preparing.Bench):
    """The driver's snapshot is there when a claim comes."""

    def taken(self) -> snapshot.NodeSnapshot:
        if not hasattr(self, "_latest"):
            self._latest = super().taken()
        return self._latest


async def _all(bench: test_preparing.Bench, references: list[preparing.ClaimReference]) -> None:
    await asyncio.gather(*map(bench.preparer.prepare, references))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _process(root: pathlib.Path, vfs: int) -> list[figures.Figure]:
    tree = sysfs_tree.SysfsTree(root / "sys")
    tree.add_pf(_PF, sysfs.Netdev("enp1s0", 2, "52:54:00:00:00:01", 1500), _MODEL, numvfs=vfs)
    node = processes.Node(root, sys=tree)
    node.api.checks = False  # in Python the rules take longer than everything that is measured
    found: list[figures.Figure] = []
    loops.run(_driven(node, vfs, found), 300)
    return found


async def _driven(node: processes.Node, vfs: int, found: list[figures.Figure]) -> None:
    await node.api.put({"kind": "Node", "metadata": {"name": claims.NODE, "uid": "node-uid"}})
    async with node.api.serving() as port, node.kubelet.running():
        async with node.driver(port) as process:
            await loops.until(lambda: bool(node.api.asked), 120)
            began = time.perf_counter()
            await loops.until(lambda: len(node.published()) == vfs, 120)
            found.append(
                figures.Figure(
                    "first_publish_ms", (time.perf_counter() - began) * 1000, 150.0, "from its first request for slices"
                )
            )
            await node.kubelet.until_registered()
            found.append(
                figures.Figure(f"memory_with_{vfs}_vfs_mb", _memory(process.pid), 56.0, "proportional set size")
            )
            found.append(await _wiped(node, vfs))
            found.append(await _link_down(node))
            found.append(await _link_up(node))
            process.terminate()
            await process.wait()
        writes = len(node.api.writes)
        async with node.driver(port):
            await loops.until(lambda: node.log.count("published worker-1/") == 2, 120)
            found.append(figures.Figure("writes_at_a_restart", len(node.api.writes) - writes, 0.0))
            await node.kubelet.stop()


async def _wiped(node: processes.Node, vfs: int) -> figures.Figure:
    """The kubelet deletes all slices: until they are there again."""
    await node.api.wipe(claims.NODE)
    began = time.perf_counter()
    await loops.until(lambda: len(node.published()) == vfs, 30)
    return figures.Figure(
        "published_again_ms", (time.perf_counter() - began) * 1000, 1000.0, "after the kubelet's wipe"
    )


async def _link_down(node: processes.Node) -> figures.Figure:
    node.sys.set_attribute(_PF, "net/enp1s0/carrier", 0)
    began = time.perf_counter()
    await loops.until(lambda: all("link-down" in each for each in node.published()), 30)
    return figures.Figure(
        "link_down_to_taint_ms", (time.perf_counter() - began) * 1000, _DEBOUNCE_MS + 200.0, "all VFs"
    )


async def _link_up(node: processes.Node) -> figures.Figure:
    node.sys.set_attribute(_PF, "net/enp1s0/carrier", 1)
    began = time.perf_counter()
    await loops.until(lambda: not any("link-down" in each for each in node.published()), 30)
    return figures.Figure("link_up_to_no_taint_ms", (time.perf_counter() - began) * 1000, None, "all VFs")


def _memory(pid: int) -> float:
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    [kilobytes] = re.findall(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(kilobytes) * 1024 / 1e6
