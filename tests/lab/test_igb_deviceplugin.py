"""The device plugin on real SR-IOV: what the kernel does to VFs, the kubelet hears of."""

import asyncio
import contextlib
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

from sriov import devices
from tests.deviceplugin import loops
from tests.fakes import kubelet as fake
from tests.lab import igb

ROOT = pathlib.Path(__file__).parents[2]
POOL = "intel.com/igb"
# The guest's CPU is emulated: a process that starts in half a second elsewhere takes ten here.
START, FOLLOW = 120.0, 60.0
ENTRY = {"resourceName": "igb", "checkHealthOnPf": True, "selectors": {"rootDevices": [igb.PF0]}}


@contextlib.asynccontextmanager
async def plugin(folder: pathlib.Path, kubelet: fake.Kubelet) -> AsyncIterator[asyncio.subprocess.Process]:
    (folder / "config.json").write_text(json.dumps({"resourceList": [ENTRY]}))
    places = [f"--kubelet-root-dir={folder}", f"--run-dir={folder}/run", f"--devinfo-dir={folder}/devinfo"]
    command = [sys.executable, "-m", "deviceplugin", f"--config-file={folder}/config.json", *places]
    process = await asyncio.create_subprocess_exec(*command, "--resync-interval=3600", cwd=ROOT)
    try:
        await kubelet.wait_for(POOL, 7, START)
        yield process
    finally:
        process.terminate()
        await process.wait()


def on_node(folder: pathlib.Path, body: Callable[[fake.Kubelet], Coroutine[object, object, None]]) -> None:
    async def whole() -> None:
        kubelet = fake.Kubelet(folder)
        await kubelet.start()
        try:
            async with plugin(folder, kubelet):
                await body(kubelet)
                assert kubelet.registrations == [POOL]
        finally:
            await kubelet.stop()

    loops.run(whole(), timeout=400)


async def followed(what: str, seen: Awaitable[dict[str, fake.Device]]) -> dict[str, fake.Device]:
    """Wait for the kubelet to see it, and tell how long that took."""
    began = time.monotonic()
    listed = await seen
    print(f"{what}: {time.monotonic() - began:.2f} s")
    return listed


def write(pci: devices.PciAddress, name: str, value: str) -> None:
    (igb.TREE.pci(pci) / name).write_text(value)


def bind(vf: devices.PciAddress) -> None:
    pathlib.Path("/sys/bus/pci/drivers_probe").write_text(vf)


def test_f26_numvfs_to_none_to_three_and_back(tmp_path: pathlib.Path) -> None:
    """No restart, one registration; a PF that has no VFs for a moment is not offered in their place."""

    async def body(kubelet: fake.Kubelet) -> None:
        try:
            for count in (0, 3):
                write(igb.PF0, "sriov_numvfs", str(count))
                listed = await followed(f"numvfs {count}", kubelet.wait_for(POOL, count, FOLLOW))
                assert set(listed) == {f"0000:01:10.{2 * index}" for index in range(count)}
            await kubelet.request(POOL, ["0000:01:10.4"])
        finally:
            write(igb.PF0, "sriov_numvfs", "0")
            write(igb.PF0, "sriov_numvfs", "7")
        await followed("numvfs 7", kubelet.wait_for(POOL, 7, FOLLOW))

    on_node(tmp_path, body)


def test_d28_pf_down_and_up(tmp_path: pathlib.Path) -> None:
    """Every VF unhealthy, and healthy again; none of them leaves the list."""
    netdev = igb.TREE.netdev_name(igb.PF0)
    assert netdev is not None

    async def body(kubelet: fake.Kubelet) -> None:
        try:
            subprocess.run(["ip", "link", "set", netdev, "down"], check=True)
            assert len(await followed("PF down", kubelet.wait_for(POOL, 0, FOLLOW))) == 7
        finally:
            subprocess.run(["ip", "link", "set", netdev, "up"], check=True)
        await followed("PF up", kubelet.wait_for(POOL, 7, FOLLOW))

    on_node(tmp_path, body)
    for index in range(7):
        assert igb.hand_out(tmp_path, index) == f"02:00:00:00:ce:0{index}", "a PF that was down serves each VF again"


def test_d29_a_vf_unbound_and_bound(tmp_path: pathlib.Path) -> None:
    vf = igb.vf(6).pci

    async def body(kubelet: fake.Kubelet) -> None:
        try:
            write(vf, "driver/unbind", vf)
            listed = await followed("unbound", kubelet.wait_for(POOL, 6, FOLLOW))
            assert [one for one, device in listed.items() if not device.healthy] == [vf]
        finally:
            bind(vf)
        await followed("bound", kubelet.wait_for(POOL, 7, FOLLOW))

    on_node(tmp_path, body)
