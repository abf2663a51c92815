"""`python -m deviceplugin` as the node runs it."""

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from sriov import sysfs
from tests.deviceplugin import loops
from tests.fakes import kubelet as fake
from tests.fakes import sysfs_tree

ROOT = pathlib.Path(__file__).parents[2]
CONFIG: dict[str, object] = {
    "resourceList": [{"resourceName": "igb_vf"}, {"resourceName": "x", "deviceType": "accelerator"}]
}


@contextlib.asynccontextmanager
async def started(
    root: pathlib.Path, *flags: str, config: object = CONFIG
) -> AsyncIterator[asyncio.subprocess.Process]:
    (root / "config.json").write_text(json.dumps(config))
    tree = sysfs_tree.SysfsTree(root / "sys")
    tree.add_pf("0000:01:00.0", sysfs.Netdev("enp1s0", 2, "52:54:00:00:00:01", 1500), numvfs=7)
    folders = {"kubelet-root-dir": root, "sysfs": root / "sys", "procfs": root / "proc", "dev": root / "dev"}
    folders |= {"run-dir": root / "run", "devinfo-dir": root / "devinfo", "cdi-dir": root / "cdi"}
    paths = [f"--config-file={root}/config.json", *(f"--{name}={path}" for name, path in folders.items())]
    command = [sys.executable, "-W", "error", "-m", "deviceplugin", *paths, *flags]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def told(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """Exit status and log, once it has ended."""
    _, log = await asyncio.wait_for(process.communicate(), 10)
    return process.returncode, log.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_d16_a_signal_ends_it_and_leaves_no_socket(tmp_path: pathlib.Path, number: signal.Signals) -> None:
    async def body() -> None:
        kubelet = fake.Kubelet(tmp_path)
        await kubelet.start()
        async with started(tmp_path, "--resource-prefix", "example.com") as process:
            await kubelet.wait_for("example.com/igb_vf", 7, timeout=10)
            envs = await kubelet.allocate("p1", "example.com/igb_vf", 2)
            assert envs["PCIDEVICE_EXAMPLE_COM_IGB_VF"] == "0000:01:10.0,0000:01:10.2"
            process.send_signal(number)
            status, log = await told(process)
        assert status == 0
        assert os.listdir(kubelet.folder) == ["kubelet.sock"]
        assert "INFO registered example.com/igb_vf with 7 devices" in log
        assert log.strip().endswith("stopped")
        assert "Traceback" not in log
        await kubelet.stop()

    loops.run(body())


def test_a_killed_one_is_replaced_by_the_next(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        kubelet = fake.Kubelet(tmp_path)
        await kubelet.start()
        async with started(tmp_path) as process:
            await kubelet.wait_for("intel.com/igb_vf", 7, timeout=10)
            process.kill()
            await kubelet.wait_for("intel.com/igb_vf", 0)
        assert "intel.com_igb_vf.sock" in os.listdir(kubelet.folder)
        (tmp_path / "sys").rename(tmp_path / "old")
        async with started(tmp_path) as process:
            await kubelet.wait_for("intel.com/igb_vf", 7, timeout=10)
            process.terminate()
            assert (await told(process))[0] == 0
        await kubelet.stop()

    loops.run(body())


def test_a_bad_configuration_ends_it_with_what_to_do(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with started(tmp_path, config={"resourceList": [{"resourceName": "x_"}]}) as process:
            status, log = await told(process)
        assert status == 1
        assert log == (
            f'{tmp_path}/config.json: resourceList[0].resourceName is "x_": the kubelet accepts no such name; '
            "use 1 to 63 letters, digits, - and _, a letter or digit first and last\n"
        )

    loops.run(body())


def test_d4_a_directory_too_deep_ends_it_with_what_to_do(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        async with started(tmp_path, "--kubelet-root-dir", "/" + "d" * 100) as process:
            status, log = await told(process)
        assert status == 1
        assert "use a shorter --kubelet-root-dir" in log
        assert "Traceback" not in log

    loops.run(body())


@pytest.mark.parametrize(
    ("flags", "status", "text"),
    [
        (["-config-file=/nowhere.json", "--log-dir=sriovdp", "--log-level=10"], 1, "/nowhere.json cannot be read"),
        (["--log-level", "loud"], 2, "invalid log level"),
        (["--use-magic"], 2, "unrecognized arguments: --use-magic"),
    ],
)
def test_flags(tmp_path: pathlib.Path, flags: list[str], status: int, text: str) -> None:
    """One dash is enough, and what the incumbent's manifests pass is taken."""

    async def body() -> None:
        async with started(tmp_path, *flags) as process:
            ended, log = await told(process)
        assert ended == status
        assert text in log

    loops.run(body())
