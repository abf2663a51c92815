"""The daemon under a supervisor that owns its socket: it serves there, says so, and leaves it to its successor."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from sriov import errors
from sriov.daemon import systemd as ours
from tests.fakes import supervisor
from tests.sriov_cni import harness

STATUS = {"cniVersion": "1.1.0", "name": "n1", "type": "sriov"}


@pytest.fixture
def keeper(tmp_path: pathlib.Path) -> Iterator[supervisor.Supervisor]:
    with contextlib.closing(supervisor.Supervisor(tmp_path / "run/cni.sock")) as made:
        yield made


def command(tmp_path: pathlib.Path) -> list[str]:
    return [sys.executable, "-m", "sriov_cni", "--run-dir", str(tmp_path / "run")]


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def test_it_serves_on_the_socket_that_it_is_given_and_leaves_it_there(
    keeper: supervisor.Supervisor, tmp_path: pathlib.Path
) -> None:
    client = harness.Client(tmp_path / "run/cni.sock", "", "")
    with keeper.running(command(tmp_path)) as process:
        assert keeper.heard() == "READY=1"
        assert client.call("STATUS", STATUS).code == 0
        stop(process)
        assert keeper.heard() == "STOPPING=1"
    assert (tmp_path / "run/cni.sock").is_socket()


def test_a_call_between_two_daemons_waits_for_the_second(keeper: supervisor.Supervisor, tmp_path: pathlib.Path) -> None:
    """With a shim that tries for no time at all: it is connected at once. (STATUS alone waits for no daemon.)"""
    client, answers = harness.Client(tmp_path / "run/cni.sock", "", ""), list[harness.Answer]()
    with keeper.running(command(tmp_path)) as process:
        assert keeper.heard() == "READY=1"
        stop(process)
    calling = threading.Thread(target=lambda: answers.append(client.call("DEL", STATUS)))
    calling.start()
    with keeper.running(command(tmp_path)):
        calling.join()
    assert [each.code for each in answers] == [0]


@pytest.mark.parametrize(("count", "listens"), [(2, True), (1, False)])
def test_what_is_no_socket_of_ours_is_one_clear_line(
    keeper: supervisor.Supervisor, tmp_path: pathlib.Path, count: int, listens: bool
) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        passed = keeper.listening if listens else other
        with keeper.running(command(tmp_path), passed, count) as process:
            assert process.wait(timeout=30) == 1
            assert process.stderr
            [line] = process.stderr.read().splitlines()
    assert line.startswith("sriov-cni-daemon: ")
    assert line.endswith("give the socket unit one ListenStream= with a path")


def test_what_was_passed_to_another_process_is_not_taken() -> None:
    environ = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "HOME": "/"}
    assert ours.inherited_socket(environ) is None
    assert environ == {"HOME": "/"}, "a child would believe that they are its own"


def test_no_socket_at_all_is_refused() -> None:
    with pytest.raises(errors.SriovError, match="systemd passed 0 sockets"):
        ours.inherited_socket({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"})


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "/nonexistent/notify"])
def test_nobody_who_listens_is_no_failure(address: str) -> None:
    ours.tell({"NOTIFY_SOCKET": address}, "READY=1")


def test_a_supervisor_in_the_abstract_namespace_hears() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears:
        hears.bind("")
        ours.tell({"NOTIFY_SOCKET": "@" + hears.getsockname()[1:].decode()}, "READY=1")
        assert hears.recv(100) == b"READY=1"
