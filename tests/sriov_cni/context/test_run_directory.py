"""Two daemons and one run directory: one works in it, the other waits, says so, and takes over when that has gone."""

import asyncio
import concurrent.futures
import contextlib
import multiprocessing
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from sriov import errors
from sriov.daemon import http_address
from sriov_cni.context import run_directory
from tests.fakes import supervisor
from tests.sriov.daemon import clients
from tests.sriov_cni import harness

SECONDS = 20.0
STATUS = {"cniVersion": "1.1.0", "name": "n1", "type": "sriov"}
WAITS = "another CNI daemon uses run directory"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    made = tmp_path / "run"
    made.mkdir(mode=0o700)
    return made


def test_one_holds_it_and_its_end_frees_it(folder: pathlib.Path) -> None:
    first, second = run_directory.RunDirectory(folder), run_directory.RunDirectory(folder)
    assert first.take()
    assert (second.take(), second.waits, second.is_held()) == (False, True, False)
    first.release()
    assert second.take()
    second.release()


def test_a_child_does_not_inherit_it(folder: pathlib.Path) -> None:
    first, second = run_directory.RunDirectory(folder), run_directory.RunDirectory(folder)
    assert first.take()
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        try:
            first.release()
            assert second.take()
        finally:
            child.kill()
    second.release()


def test_a_directory_that_was_replaced_is_not_held(folder: pathlib.Path) -> None:
    first, second = run_directory.RunDirectory(folder), run_directory.RunDirectory(folder)
    assert first.take()
    folder.rename(folder.with_name("old"))
    assert not first.is_held()
    folder.mkdir(mode=0o700)
    assert not first.is_held()
    assert second.take()
    first.release()
    assert second.is_held()
    second.release()


def test_what_is_no_directory_is_a_clear_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.LedgerError, match="absent"):
        run_directory.RunDirectory(tmp_path / "absent").take()


def _hold(path: pathlib.Path, held: Any) -> None:
    assert run_directory.RunDirectory(path).take()
    held.set()
    time.sleep(60)


def test_it_dies_with_its_process_however_that_ends(folder: pathlib.Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold, args=(folder, held))
    holder.start()
    try:
        assert held.wait(SECONDS)
        second = run_directory.RunDirectory(folder)
        assert not second.take()
    finally:
        holder.kill()
        holder.join()
    assert second.take()
    second.release()


def command(tmp_path: pathlib.Path, *flags: str) -> list[str]:
    paths = {"run-dir": "run", "sysfs": "sys", "policy": "policy.json", "predecessor-dir": "former"}
    places = [f"--{key}={tmp_path}/{to}" for key, to in paths.items()]
    return [sys.executable, "-m", "sriov_cni", *places, *flags]


@contextlib.contextmanager
def daemon(argv: Sequence[str], log: pathlib.Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as sink, subprocess.Popen(argv, cwd=harness.PROJECT, stderr=sink) as process:
        try:
            yield process
        finally:
            process.kill()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ready(where: http_address.Unix) -> tuple[int, str]:
    try:
        return asyncio.run(clients.get(where, "/readyz"))
    except OSError as error:
        return 0, str(error)


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_second_daemon_waits_says_so_and_takes_over(tmp_path: pathlib.Path, end: signal.Signals) -> None:
    client, where = harness.Client(tmp_path / "run/cni.sock", "", ""), http_address.Unix(tmp_path / "second.sock")
    with (
        daemon(command(tmp_path), tmp_path / "first.log") as first,
    ):
        until(client.socket.exists)
        inode = client.socket.stat().st_ino
        with daemon(command(tmp_path, f"--http={where}"), tmp_path / "second.log") as second:
            until(lambda: ready(where)[0] == 503)
            assert WAITS in ready(where)[1]
            assert asyncio.run(clients.get(where, "/healthz"))[0] == 200
            assert client.socket.stat().st_ino == inode, "the waiting daemon has taken the socket"
            assert client.call("STATUS", STATUS).code == 0
            said = (tmp_path / "second.log").read_text()
            assert said.count(WAITS) == 1
            assert "listening" not in said
            first.send_signal(end)
            first.wait(SECONDS)
            assert client.call("DEL", STATUS).code == 0
            until(lambda: ready(where) == (200, "ok\n"))
            assert "other daemon has gone" in (tmp_path / "second.log").read_text()
            second.terminate()
            assert second.wait(SECONDS) == 0


@pytest.mark.slow
def test_a_daemon_that_is_told_to_stop_has_it_until_its_last_call_is_over(tmp_path: pathlib.Path) -> None:
    harness.ipam_plugin(tmp_path / "plugins", "slow", "sleep 1.5")
    client = harness.Client(tmp_path / "run/cni.sock", str(tmp_path / "plugins"), "")
    with daemon(command(tmp_path), tmp_path / "first.log") as first, concurrent.futures.ThreadPoolExecutor() as pool:
        until(client.socket.exists)
        with daemon(command(tmp_path), tmp_path / "second.log"):
            until(lambda: WAITS in (tmp_path / "second.log").read_text())
            calling = pool.submit(client.call, "STATUS", {**STATUS, "ipam": {"type": "slow"}})
            until(lambda: harness.ipam_calls(tmp_path / "plugins", "slow") == ["STATUS"])
            first.terminate()
            time.sleep(0.5)
            assert not calling.done()
            assert "other daemon has gone" not in (tmp_path / "second.log").read_text()
            assert calling.result().code == 0
            assert client.call("DEL", STATUS).code == 0


def test_a_daemon_that_waits_can_be_stopped(tmp_path: pathlib.Path) -> None:
    with daemon(command(tmp_path), tmp_path / "first.log") as first:
        until((tmp_path / "run/cni.sock").exists)
        with daemon(command(tmp_path), tmp_path / "second.log") as second:
            until(lambda: WAITS in (tmp_path / "second.log").read_text())
            second.terminate()
            assert second.wait(SECONDS) == 0
        assert (tmp_path / "run/cni.sock").is_socket()
        assert first.poll() is None


def test_a_second_daemon_with_the_same_port_waits_too(tmp_path: pathlib.Path) -> None:
    """As the pods of a DaemonSet have on the host's network: the endpoint answers once the first has gone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv, where = command(tmp_path, f"--http=127.0.0.1:{port}"), http_address.address(f"127.0.0.1:{port}")
    with daemon(argv, tmp_path / "first.log") as first:
        until((tmp_path / "run/cni.sock").exists)
        with daemon(argv, tmp_path / "second.log") as second:
            until(lambda: WAITS in (tmp_path / "second.log").read_text())
            first.kill()
            first.wait(SECONDS)

            def answers() -> bool:
                with contextlib.suppress(OSError):
                    return asyncio.run(clients.get(where, "/readyz")) == (200, "ok\n")
                return False

            until(answers)
            assert second.poll() is None


def test_systemd_hears_that_it_waits_and_its_calls_wait_with_it(tmp_path: pathlib.Path) -> None:
    """A unit is started beside a DaemonSet's daemon: its start has no time limit, and its socket loses no call."""
    with daemon(command(tmp_path, f"--socket={tmp_path}/other.sock"), tmp_path / "first.log") as first:
        until((tmp_path / "other.sock").exists)
        with contextlib.closing(supervisor.Supervisor(tmp_path / "run/cni.sock")) as keeper:
            client = harness.Client(tmp_path / "run/cni.sock", "", "")
            with keeper.running(command(tmp_path)) as second:
                told = dict(line.split("=", 1) for line in keeper.heard().splitlines())
                assert WAITS in told["STATUS"]
                assert int(told["EXTEND_TIMEOUT_USEC"]) > 20_000_000
                first.terminate()
                assert client.call("DEL", STATUS).code == 0
                assert [keeper.heard(), keeper.heard()] == ["STATUS=", "READY=1"]
                second.terminate()
                assert second.wait(SECONDS) == 0


def test_a_daemon_whose_directory_is_replaced_begins_no_call_and_ends(tmp_path: pathlib.Path) -> None:
    """A supervisor would start it again; here its successor is waiting."""
    client = harness.Client(tmp_path / "run/cni.sock", "", "")
    with daemon(command(tmp_path), tmp_path / "first.log") as first:
        until(client.socket.exists)
        (tmp_path / "run").rename(tmp_path / "old")
        with daemon(command(tmp_path), tmp_path / "second.log"):
            assert client.call("DEL", STATUS).code == 0
            stale = harness.Client(tmp_path / "old/cni.sock", "", "")
            assert (first.poll() is not None) or stale.call("DEL", STATUS).code == 11
            assert first.wait(SECONDS) == 1
            assert "was replaced while this daemon used it" in (tmp_path / "first.log").read_text()
            assert client.call("STATUS", STATUS).code == 0, "the successor's socket is left alone"


@pytest.mark.slow
def test_many_starts_at_once_end_in_one_that_serves(tmp_path: pathlib.Path) -> None:
    client = harness.Client(tmp_path / "run/cni.sock", "", "")
    with contextlib.ExitStack() as running:
        logs = [tmp_path / f"{number}.log" for number in range(4)]
        for log in logs:
            running.enter_context(daemon(command(tmp_path), log))
        until(lambda: sum(WAITS in log.read_text() for log in logs) == 3)
        until(lambda: sum("listening" in log.read_text() for log in logs) == 1)
        assert client.call("STATUS", STATUS).code == 0
        assert os.listdir(tmp_path / "run").count("cni.sock") == 1


class Counting(run_directory.RunDirectory):
    """Counts how often it is asked whether it is held."""

    asked = 0

    def is_held(self) -> bool:
        self.asked += 1
        return super().is_held()


def test_a_daemon_that_took_another_directory_first_rests_while_it_holds_this_one(folder: pathlib.Path) -> None:
    """Between open and flock the first may be replaced: then the lock is released, and taken on what is there now."""

    async def body() -> None:
        held = Counting(folder)
        assert held.take()
        folder.rename(folder.with_name("old"))
        folder.mkdir(mode=0o700)
        assert not held.is_held()
        held.release()
        assert held.take()
        losing = asyncio.create_task(held.lose(asyncio.Event()))
        before = held.asked
        await asyncio.sleep(0.3)
        losing.cancel()
        held.release()
        assert held.asked - before <= 1

    asyncio.run(body())
