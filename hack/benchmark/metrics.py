"""Cost of a scrape on a large node: 1,024 VFs, 200 of them in pods, asked over a unix socket as Prometheus asks.

The device plugin is a process on a built sysfs tree. The CNI daemon's endpoint is in this process, beside a loop whose
longest pause is measured: an ADD would wait that long for a scrape. The counters are invented, since there are no
namespaces.
"""

import asyncio
import contextlib
import pathlib
import tempfile
import time
from collections.abc import AsyncIterator

from hack.benchmark import figures
from hack.benchmark.kubelet import deviceplugin
from sriov import devices, settings
from sriov.attachment import node
from sriov.daemon import http_address
from sriov.hardware import inventory
from sriov.linux import netns
from sriov.state import ledger, vf_identity
from sriov_cni.context import calls
from sriov_cni.monitoring import counters, endpoint
from tests.fakes import memory_kernel, world
from tests.sriov.daemon import clients

ATTACHED = 200
SCRAPES = 50
_TICK = 0.001  # seconds


def measure(scrapes: int = SCRAPES, vfs: int = deviceplugin.LARGE) -> list[figures.Figure]:
    """Measure with `vfs` of each PF; takes some seconds."""
    return asyncio.run(_measure(scrapes, vfs))


async def _measure(scrapes: int, vfs: int) -> list[figures.Figure]:
    memory = deviceplugin.MEMORY
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        large = deviceplugin.Node(pathlib.Path(folder), vfs)
        plugin = await _of_the_plugin(large, scrapes)
        daemon = await _of_the_daemon(large, scrapes)
    return [figures.Figure("vfs", large.vfs), *plugin, *daemon]


async def _of_the_plugin(large: deviceplugin.Node, scrapes: int) -> list[figures.Figure]:
    where = http_address.Unix(large.root / "plugin.sock")
    async with deviceplugin.running(large, f"--http={where}"):
        taken, size = await _scrapes(where, scrapes)
    return [
        figures.Figure("deviceplugin_scrape_ms_p50", figures.percentile(taken, 0.5)),
        figures.Figure("deviceplugin_scrape_ms_p99", figures.percentile(taken, 0.99), 100),
        figures.Figure("deviceplugin_scrape_bytes", size),
    ]


async def _of_the_daemon(large: deviceplugin.Node, scrapes: int) -> list[figures.Figure]:
    where = http_address.Unix(large.root / "daemon.sock")
    monitor = endpoint.DaemonMonitor(where, 3600, lambda _: _COUNTERS)
    daemon = _daemon(large)
    began = time.perf_counter()
    async with monitor.serving(daemon, large.root / "cni.sock"):
        while len(clients.values(await clients.scrape(where), "sriov_vf_receive_bytes_total")) < ATTACHED:
            await asyncio.sleep(0.01)
        looked = (time.perf_counter() - began) * 1000
        async with _pauses() as pauses:
            taken, size = await _scrapes(where, scrapes)
    return [
        figures.Figure("attached", ATTACHED),
        figures.Figure("cni_scrape_ms_p50", figures.percentile(taken, 0.5)),
        figures.Figure("cni_scrape_ms_p99", figures.percentile(taken, 0.99), 100),
        figures.Figure("cni_scrape_bytes", size),
        figures.Figure("cni_loop_pause_ms_max", max(pauses), None, "this process asks too"),
        figures.Figure("cni_first_look_ms", looked, None, "start, look and scrape"),
    ]


_COUNTERS = counters.Counters(counters.Direction(1 << 50, 1 << 40, 7, 8), counters.Direction(1 << 50, 1 << 40, 9, 10))


def _daemon(large: deviceplugin.Node) -> calls.Daemon:
    machine = world.World(large.root)
    book = ledger.Ledger(large.root / "run")
    book.create()
    for number, pci in enumerate(list(inventory.scan(large.tree.tree).vfs)[:ATTACHED]):
        book.write(_record(number, pci, machine.home))
    return calls.Daemon(node.Node(large.tree.tree, memory_kernel.opener(machine), machine.home), book)


def _record(number: int, pci: devices.PciAddress, somewhere: netns.Netns) -> ledger.Record:
    owner = ledger.Owner(
        container_id=f"{number:064x}",
        ifname="net1",
        network="n1",
        netns=f"/run/netns/cni-{number}",
        namespace="training",
        pod=f"worker-{number}-of-a-job",
    )
    home = vf_identity.VfIdentity(name=f"p0v{number}", address="02:00:00:00:00:01", mtu=1500)
    return ledger.Record(pci=pci, owner=owner, netns=somewhere.identity, home=home, wanted=settings.BASELINE, mtu=1500)


async def _scrapes(where: http_address.Address, count: int) -> tuple[list[float], int]:
    """Return the milliseconds of each, and the size of the last."""
    taken, size = [], 0
    for _ in range(count):
        began = time.perf_counter()
        code, text = await clients.get(where, "/metrics")
        taken.append((time.perf_counter() - began) * 1000)
        assert code == 200, text
        size = len(text)
    return taken, size


@contextlib.asynccontextmanager
async def _pauses() -> AsyncIterator[list[float]]:
    """Yield by how many milliseconds the loop's turns came late."""
    found = [0.0]

    async def tick() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_TICK)
            found.append((time.perf_counter() - began - _TICK) * 1000)

    ticking = asyncio.create_task(tick())
    try:
        yield found
    finally:
        ticking.cancel()
