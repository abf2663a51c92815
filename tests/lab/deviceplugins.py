"""The real device plugin as a process, on the guest's NICs, and a stand-in kubelet that it registers with."""

import asyncio
import contextlib
import json
import pathlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine

from tests.deviceplugin import loops
from tests.fakes import kubelet as fake

ROOT = pathlib.Path(__file__).parents[2]
POOL = "intel.com/igb"
# The guest's CPU is emulated: a process that starts in half a second elsewhere takes ten here.
START, FOLLOW = 120.0, 60.0


@contextlib.asynccontextmanager
async def plugin(
    folder: pathlib.Path, kubelet: fake.Kubelet, selectors: dict[str, list[str]], count: int, *flags: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    entry = {"resourceName": "igb", "checkHealthOnPf": True, "selectors": selectors}
    (folder / "config.json").write_text(json.dumps({"resourceList": [entry]}))
    places = [f"--kubelet-root-dir={folder}", f"--run-dir={folder}/run", f"--devinfo-dir={folder}/devinfo"]
    command = [sys.executable, "-m", "deviceplugin", f"--config-file={folder}/config.json", *places, *flags]
    process = await asyncio.create_subprocess_exec(*command, "--resync-interval=3600", cwd=ROOT)
    try:
        await kubelet.wait_for(POOL, count, START)
        yield process
    finally:
        process.terminate()
        await process.wait()


def on_node(
    folder: pathlib.Path,
    body: Callable[[fake.Kubelet], Coroutine[object, object, None]],
    selectors: dict[str, list[str]],
    count: int = 7,
) -> None:
    """Run the body once the pool has `count` healthy devices. One registration is all there is, whatever happens."""

    async def whole() -> None:
        kubelet = fake.Kubelet(folder)
        await kubelet.start()
        try:
            async with plugin(folder, kubelet, selectors, count):
                await body(kubelet)
                assert kubelet.registrations == [POOL]
        finally:
            await kubelet.stop()

    loops.run(whole(), timeout=400)


async def followed(kubelet: fake.Kubelet, what: str, count: int) -> dict[str, fake.Device]:
    """Wait until the kubelet sees so many healthy devices, and tell how long that took."""
    began = time.monotonic()
    listed = await kubelet.wait_for(POOL, count, FOLLOW)
    print(f"{what}: {time.monotonic() - began:.2f} s")
    return listed


async def listed(kubelet: fake.Kubelet, what: str, count: int) -> dict[str, fake.Device]:
    """As `followed`, and until no other is on the list: VFs that go are unhealthy before they are gone."""
    await followed(kubelet, what, count)
    await kubelet.wait_until(lambda: len(kubelet.resources[POOL]) == count, FOLLOW)
    return kubelet.resources[POOL]
