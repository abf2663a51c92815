"""`python -m sriov_cni` as the node runs it, as far as nobody calls."""

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from sriov.daemon import http_address
from tests.deviceplugin import loops
from tests.sriov.daemon import clients

ROOT = pathlib.Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def started(folder: pathlib.Path, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    paths = {"run-dir": "run", "sysfs": "sys", "policy": "policy.json", "predecessor-dir": "former"}
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "sriov_cni",
        *(f"--{key}={folder}/{to}" for key, to in paths.items()),
    ]
    process = await asyncio.create_subprocess_exec(*command, *flags, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
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


def test_it_is_ready_while_it_could_attach(tmp_path: pathlib.Path) -> None:
    where = http_address.Unix(tmp_path / "http.sock")

    async def ready() -> None:
        async with asyncio.timeout(10):
            while (await clients.get(where, "/readyz")) != (200, "ok\n"):
                await asyncio.sleep(0.05)

    async def body() -> None:
        async with started(tmp_path, f"--http={where}") as process:
            await loops.until(where.path.exists, 10)
            await ready()
            assert await clients.get(where, "/healthz") == (200, "ok\n")
            (tmp_path / "policy.json").write_text("{}")
            (tmp_path / "run/vfs").rename(tmp_path / "run/elsewhere")
            code, said = await clients.get(where, "/readyz")
            assert (code, f"{tmp_path}/run/vfs" in said) == (503, True)
            (tmp_path / "run/elsewhere").rename(tmp_path / "run/vfs")
            code, said = await clients.get(where, "/readyz")
            assert (code, "policy.json cannot be used" in said) == (503, True)
            (tmp_path / "policy.json").unlink()
            (tmp_path / "run/cni.sock").unlink()
            code, said = await clients.get(where, "/readyz")
            assert (code, "there is no socket" in said) == (503, True)
            assert (await clients.get(where, "/healthz"))[0] == 200
            process.terminate()
            assert (await told(process))[0] == 0
        assert not where.path.exists()

    loops.run(body(), timeout=40)


async def stays_connected(where: http_address.Address) -> list[asyncio.StreamWriter]:
    """Idle, in the middle of a request, and in the middle of an answer."""
    held = []
    for sent in (b"", b"GET /healthz HTTP/1.1\r\nX", b"GET /metrics HTTP/1.1\r\n\r\n"):
        _, writer = await clients.connected(where)
        writer.write(sent)
        held.append(writer)
    return held


def test_it_stops_without_a_word_while_others_are_connected(tmp_path: pathlib.Path) -> None:
    where = http_address.Unix(tmp_path / "http.sock")

    async def body() -> None:
        async with started(tmp_path, f"--http={where}") as process:
            await loops.until(where.path.exists, 10)
            held = await stays_connected(where)
            await asyncio.sleep(0.1)
            process.terminate()
            status, log = await told(process)
            for writer in held:
                writer.close()
        assert (status, [line for line in log.splitlines() if " INFO " not in line]) == (0, [])

    loops.run(body())


@pytest.mark.parametrize(
    ("flag", "status", "text"),
    [
        ("--http=9558", 2, "invalid address '9558': it names no host; write HOST:PORT"),
        (
            "--http=unix:/proc/s",
            1,
            "sriov-cni-daemon: cannot serve HTTP at unix:/proc/s: No such file or directory; give --http",
        ),
    ],
)
def test_flags_that_cannot_be_meant(tmp_path: pathlib.Path, flag: str, status: int, text: str) -> None:
    async def body() -> None:
        async with started(tmp_path, flag) as process:
            ended, log = await told(process)
        assert (ended, "Traceback" in log) == (status, False)
        assert text in log

    loops.run(body())


def test_its_log_is_json_and_its_level_changes_while_it_runs(tmp_path: pathlib.Path) -> None:
    async def body() -> None:
        flags = ["--log-format=json", "--log-level=info", f"--log-level-file={tmp_path}/level"]
        async with started(tmp_path, *flags) as process:
            assert process.stderr
            first = json.loads(await asyncio.wait_for(process.stderr.readline(), 10))
            assert first["message"] == f"listening on {tmp_path}/run/cni.sock"
            for number, level in ((signal.SIGUSR1, "debug"), (signal.SIGUSR2, "info")):
                process.send_signal(number)
                line = json.loads(await asyncio.wait_for(process.stderr.readline(), 10))
                assert line["message"] == f"the log level is now {level}"
            (tmp_path / "level").write_text("error")
            line = json.loads(await asyncio.wait_for(process.stderr.readline(), 10))
            assert line["message"] == "the log level is now error"
            process.terminate()
            assert (await told(process))[0] == 0

    loops.run(body())


@pytest.mark.parametrize("program", ["deviceplugin", "sriov_cni"])
def test_who_asks_for_no_endpoint_does_not_pay_for_it(program: str) -> None:
    code = f"import sys, {program}.app; print(*sys.modules)"
    loaded = asyncio.run(_output(sys.executable, "-c", code)).split()
    assert program in loaded
    assert {"prometheus_client", "http.server", "sriov.daemon.endpoint"} & set(loaded) == set()


@pytest.mark.parametrize("program", ["deviceplugin", "sriov_cni"])
def test_a_start_loads_nothing_of_tls_and_a_later_import_gets_it(program: str) -> None:
    """A module that a later import of TLS does not reach would lack it for good."""
    imports = (
        f"import sys; from sriov.daemon import starting\nwith starting.imports('ssl'):\n    import {program}.app\n"
    )
    loaded = asyncio.run(_output(sys.executable, "-c", f"{imports}print(*sys.modules)")).split()
    assert f"{program}.app" in loaded
    assert {"ssl", "_ssl", "_hashlib", "http.client", "urllib.request"} & set(loaded) == set()
    later = f"{imports}import ssl, http.client\nprint(ssl.OPENSSL_VERSION, http.client.HTTPSConnection)"
    assert "HTTPSConnection" in asyncio.run(_output(sys.executable, "-c", later))


def test_the_cni_daemon_loads_netlinks_messages_and_nothing_else_of_their_library() -> None:
    loaded = asyncio.run(_output(sys.executable, "-c", "import sys, sriov_cni.app; print(*sys.modules)")).split()
    ours = {each for each in loaded if each.startswith("pyroute2.")}
    assert "pyroute2.netlink.rtnl.ifinfmsg" in ours
    parts = ("pyroute2.common", "pyroute2.config", "pyroute2.netlink")
    assert [each for each in sorted(ours) if not each.startswith(parts)] == []


def test_the_device_plugin_loads_what_watches_folders_after_its_start() -> None:
    code = "import sys, deviceplugin.app; print(*sys.modules)"
    assert "asyncinotify" not in asyncio.run(_output(sys.executable, "-c", code)).split()


@pytest.mark.parametrize(("program", "late"), [("deviceplugin", "grpc"), ("sriov_cni", "msgspec")])
def test_a_stop_that_comes_while_it_is_still_imported_ends_it(tmp_path: pathlib.Path, program: str, late: str) -> None:
    """Without a handler it would die of it, which process 1 of a container does not."""
    (tmp_path / f"{late}.py").write_text("import time\nopen('reached', 'w').close()\nwhile True:\n    time.sleep(9)\n")

    async def body() -> None:
        env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
        code = f"import sys; from {program} import __main__ as program; sys.exit(program.main())"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=tmp_path, env=env)
        try:
            await loops.until((tmp_path / "reached").exists, 10)
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 10) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    loops.run(body())


@pytest.mark.parametrize("program", ["deviceplugin", "sriov_cni"])
def test_a_crash_leaves_a_trace(tmp_path: pathlib.Path, program: str) -> None:
    """Of every thread, while the program is imported already."""
    (tmp_path / "msgspec.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")

    async def body() -> None:
        env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
        code = f"import sys; from {program} import __main__ as program; sys.exit(program.main())"
        command = [sys.executable, "-c", code]
        process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=env, stderr=asyncio.subprocess.PIPE)
        ended, log = await told(process)
        assert ended == -signal.SIGSEGV
        assert "Fatal Python error: Segmentation fault" in log
        assert f"{tmp_path}/msgspec.py" in log

    loops.run(body())


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()
