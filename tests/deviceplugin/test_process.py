"""`python -m deviceplugin` as the node runs it."""

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator, Sequence

import pytest

from sriov.daemon import http_address
from sriov.hardware import sysfs
from tests.deviceplugin import loops
from tests.fakes import kubelet as fake
from tests.fakes import sysfs_tree
from tests.sriov.daemon import clients

ROOT = pathlib.Path(__file__).parents[2]
CONFIG: dict[str, object] = {
    "resourceList": [{"resourceName": "igb_vf"}, {"resourceName": "x", "deviceType": "accelerator"}]
}


@contextlib.asynccontextmanager
async def started(
    root: pathlib.Path, *flags: str, config: object = CONFIG, before: Sequence[str] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    (root / "config.json").write_text(json.dumps(config))
    tree = sysfs_tree.SysfsTree(root / "sys")
    tree.add_pf("0000:01:00.0", sysfs.Netdev("enp1s0", 2, "52:54:00:00:00:01", 1500), numvfs=7)
    folders = {"kubelet-root-dir": root, "sysfs": root / "sys", "procfs": root / "proc", "dev": root / "dev"}
    folders |= {"run-dir": root / "run", "devinfo-dir": root / "devinfo", "cdi-dir": root / "cdi"}
    paths = [f"--config-file={root}/config.json", *(f"--{name}={path}" for name, path in folders.items())]
    command = [*before, sys.executable, "-W", "error", "-m", "deviceplugin", *paths, *flags]
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


def test_it_stops_without_a_word_while_others_are_connected(tmp_path: pathlib.Path) -> None:
    where = http_address.Unix(tmp_path / "http.sock")

    async def body() -> None:
        kubelet = fake.Kubelet(tmp_path)
        await kubelet.start()
        async with started(tmp_path, f"--http={where}") as process:
            await kubelet.wait_for("intel.com/igb_vf", 7, timeout=10)
            held = []
            for sent in (b"", b"GET /healthz HTTP/1.1\r\nX", b"GET /metrics HTTP/1.1\r\n\r\n"):
                _, writer = await clients.connected(where)
                writer.write(sent)
                held.append(writer)
            await asyncio.sleep(0.1)
            process.terminate()
            status, log = await told(process)
            for writer in held:
                writer.close()
        assert (status, "Traceback" in log, log.splitlines()[-1].endswith("stopped")) == (0, False, True)
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
            f'{tmp_path}/config.json: resourceList[0].resourceName is "x_": the kubelet does not accept this name; '
            "use 1 to 63 letters, digits, - and _, a letter or digit first and last\n"
        )

    loops.run(body())


def test_the_operators_arguments_and_a_key_that_comes_late(tmp_path: pathlib.Path) -> None:
    """After what the image's entry point says: sriov-network-operator's DaemonSet has these, with CDI the last one."""
    late = tmp_path / "etc/node-1"
    late.parent.mkdir()
    given = ("--log-level=10", "--resource-prefix=openshift.io", f"--config-file={late}", "--use-cdi")

    async def body() -> None:
        kubelet = fake.Kubelet(tmp_path)
        await kubelet.start()
        async with started(tmp_path, "--wait-for-config", *given) as process:
            assert process.stderr is not None
            await asyncio.wait_for(process.stderr.readuntil(b"waiting for a configuration; nothing is advertised"), 20)
            late.write_text(json.dumps(CONFIG))
            await kubelet.wait_for("openshift.io/igb_vf", 7, timeout=20)
            process.terminate()
            status, log = await told(process)
        assert (status, "Traceback" in log) == (0, False)
        await kubelet.stop()

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
        (["-config-file=/nowhere.json", "-use-cdi", "-v", "10", "-logtostderr"], 1, "/nowhere.json cannot be read"),
        (["-config-file=/nowhere.json", "--use-cdi=false", "--alsologtostderr=true"], 1, "; name the file with --conf"),
        (["--use-cdi=perhaps"], 2, "invalid boolean value 'perhaps', use true or false"),
        (["--registration=both"], 2, "invalid registration 'both', use direct or watcher"),
        (["--http=somewhere"], 2, "invalid address 'somewhere': it names no host; write HOST:PORT"),
        (["-http", "unix:/proc/s"], 1, "cannot serve HTTP at unix:/proc/s: No such file or directory; give --http"),
        (["--log-level", "loud"], 2, "invalid log level"),
        (["--log-format", "xml"], 2, "invalid log format 'xml', use human or json"),
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


RESTRICTED = """
mount --bind "$1" "$1"
mount -o remount,bind,ro /
shift
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all "$@"
"""


@pytest.mark.root
def test_it_needs_no_capability_and_a_read_only_root(tmp_path: pathlib.Path) -> None:
    """It registers, hands out a device, writes what Multus reads, takes a new configuration, and stops."""
    before = ["unshare", "--mount", "--propagation=private", "sh", "-euc", RESTRICTED, "sh", str(tmp_path)]

    async def body() -> None:
        kubelet = fake.Kubelet(tmp_path)
        await kubelet.start()
        async with started(tmp_path, before=before) as process:
            await kubelet.wait_for("intel.com/igb_vf", 7, timeout=10)
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            capabilities = {line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapBnd"))}
            assert capabilities == {"0" * 16}
            mounts = pathlib.Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()
            assert [line.split()[5].split(",")[0] for line in mounts if line.split()[4] == "/"][-1] == "ro"
            await kubelet.allocate("p1", "intel.com/igb_vf", 1)
            assert os.listdir(tmp_path / "devinfo") == ["intel.com-igb_vf-0000:01:10.0-device.json"]
            (tmp_path / "config.json").write_text('{"resourceList": [{"resourceName": "new"}]}')
            await kubelet.wait_for("intel.com/new", 7, timeout=10)
            process.terminate()
            code, log = await told(process)
        assert code == 0
        assert "Traceback" not in log
        await kubelet.stop()

    loops.run(body(), timeout=40)


def test_d47_by_the_plugin_watcher_because_it_was_asked_for(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        kubelet = fake.Kubelet(tmp_path, watching=True)
        await kubelet.start()
        async with started(tmp_path, "--registration=watcher", "--use-cdi") as process:
            await kubelet.wait_for("intel.com/igb_vf", 7, timeout=10)
            assert sorted(os.listdir(tmp_path / "plugins_registry")) == ["intel.com_igb_vf.sock", "intel.com_x.sock"]
            assert os.listdir(kubelet.folder) == ["kubelet.sock"]
            process.terminate()
            code, log = await told(process)
        assert (code, "Traceback" in log) == (0, False)
        await kubelet.stop()

    loops.run(body())


def test_it_is_ready_once_a_kubelet_knows_every_resource(tmp_path: pathlib.Path) -> None:
    where = http_address.Unix(tmp_path / "http.sock")

    async def body() -> None:
        flags = [f"--http={where}", "--log-format=json", f"--log-level-file={tmp_path}/level"]
        async with started(tmp_path, *flags) as process:
            await loops.until(where.path.exists, 10)
            assert await clients.get(where, "/healthz") == (200, "ok\n")
            code, said = await clients.get(where, "/readyz")
            assert code == 503
            assert "intel.com/igb_vf is not registered with the kubelet" in said.splitlines()
            (tmp_path / "level").write_text("debug")
            kubelet = fake.Kubelet(tmp_path)
            await kubelet.start()
            await kubelet.wait_for("intel.com/igb_vf", 7, timeout=10)
            await kubelet.wait_for("intel.com/x", 0, timeout=10)
            while (await clients.get(where, "/readyz")) != (200, "ok\n"):
                await asyncio.sleep(0.05)
            assert json.loads((await clients.get(where, "/status"))[1])["problems"] == []
            process.send_signal(signal.SIGUSR1)
            process.terminate()
            ended, log = await told(process)
        assert (ended, "Traceback" in log) == (0, False)
        lines = [json.loads(line) for line in log.splitlines()]
        levels = [line["message"] for line in lines if line["message"].startswith("the log level is now ")]
        assert levels == ["the log level is now debug"] * 2, "by the file, and by the signal"
        about = {line.get("resource") for line in lines if line["message"].startswith("registered ")}
        assert about == {"intel.com/igb_vf", "intel.com/x"}
        assert not where.path.exists()
        await kubelet.stop()

    loops.run(body(), timeout=40)
