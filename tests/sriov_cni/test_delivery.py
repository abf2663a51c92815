"""An answer on its way: shim and daemon agree on what became of it, however long a shim is stopped, and wherever.

A timeout is no proof of death. The daemon's clock jumps in these tests, so that whatever limit it has is over.
"""

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import pathlib
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sriov_cni.shim import shim, wire
from tests.fakes import bench
from tests.sriov_cni import harness
from tests.sriov_cni.shim import shims

SECONDS = 10.0
HOUR = 3600.0
LATE = shim.LATE
WHERE = ("reading", "printing")
"""Where a shim is stopped: before it has read the answer, and while it prints it, so before it has said D."""


class Loop(asyncio.SelectorEventLoop):
    """With a clock that can jump."""

    jumped = 0.0

    def time(self) -> float:
        return super().time() + self.jumped


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    bench: bench.Bench
    loop: Loop
    client: harness.Client

    def pass_an_hour(self) -> None:
        """On the daemon's clock; then it has had the time to do what it does at a limit."""
        passed = threading.Event()

        def jump() -> None:
            self.loop.jumped += HOUR
            self.loop.call_later(0.2, passed.set)

        self.loop.call_soon_threadsafe(jump)
        assert passed.wait(SECONDS)

    def holder(self) -> str | None:
        """Whose the VF is."""
        record = self.bench.book.read(self.bench.vfs[0])
        return None if record is None else record.owner.container_id

    @property
    def conf(self) -> dict[str, object]:
        return harness.configuration(self.bench.vfs[0], vlan=100)


@pytest.fixture(params=shims.BOTH)
def node(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Node]:
    made, loop, path = bench.make(tmp_path), Loop(), tmp_path / "cni.sock"
    with made.pod, harness.daemon(made.node, made.book, path, made.machine.adopt, loop=loop):
        yield Node(made, loop, harness.Client(path, "", made.machine.path("pod"), shims.command(request.param)))
    made.machine.close()


class Stopped:
    """A shim on its way, stopped; `go_on` lets it end and returns its exit status."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: int) -> None:
        self.process = process
        self._out = out

    def go_on(self) -> int:
        self.process.send_signal(signal.SIGCONT)
        while os.read(self._out, 65536):  # what was in the way of its answer, and that
            pass
        return self.process.wait(SECONDS)


@contextlib.contextmanager
def stopped(node: Node, where: str, log: pytest.LogCaptureFixture) -> Iterator[Stopped]:
    """An ADD by a shim that is stopped there, when the daemon has attached the VF and sent the answer."""
    log.set_level(logging.INFO)
    out, sink = os.pipe()
    if where == "printing":
        os.write(sink, b" " * fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, 4096))
    env = {"COMMAND": "ADD", "CONTAINERID": "c1", "NETNS": node.client.netns, "IFNAME": "net1", "PATH": "/nowhere"}
    environment = {f"CNI_{key}": value for key, value in env.items()} | {"SRIOV_CNI_SOCKET": str(node.client.socket)}
    came, release = threading.Event(), threading.Event()

    def hold_up() -> None:
        came.set()
        release.wait(SECONDS)

    node.bench.machine.before(1, hold_up)
    with subprocess.Popen(node.client.shim, stdin=subprocess.PIPE, stdout=sink, env=environment) as process:
        os.close(sink)
        try:
            assert process.stdin
            process.stdin.write(json.dumps(node.conf).encode())
            process.stdin.close()
            assert came.wait(SECONDS)
            if where == "reading":
                process.send_signal(signal.SIGSTOP)
            release.set()
            until(lambda: "'ADD c1 net1'" in log.text)
            if where == "printing":
                time.sleep(0.1)  # it cannot get further
                process.send_signal(signal.SIGSTOP)
            yield Stopped(process, out)
        finally:
            process.kill()
            os.close(out)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("where", WHERE)
def test_a_shim_that_was_stopped_for_an_hour_succeeds_and_has_its_vf(
    node: Node, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    with stopped(node, where, caplog) as adding:
        node.pass_an_hour()
        assert (adding.go_on(), node.holder()) == (0, "c1")
    assert (node.bench.vf_state().vlan, node.bench.in_pod().up) == (100, True)


@pytest.mark.parametrize("where", WHERE)
def test_a_shim_that_dies_has_its_vf_taken_back(node: Node, where: str, caplog: pytest.LogCaptureFixture) -> None:
    with stopped(node, where, caplog) as adding:
        node.pass_an_hour()
        assert node.holder() == "c1"
        adding.process.kill()
        until(lambda: node.holder() is None)


@pytest.mark.parametrize("where", WHERE)
def test_a_shim_whose_attachment_was_ended_meanwhile_fails(
    node: Node, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By the DEL of a runtime that has lost patience, say."""
    with stopped(node, where, caplog) as adding:
        assert node.client.call("DEL", node.conf).code == 0
        node.pass_an_hour()
        assert (adding.go_on(), node.holder()) == (LATE, None)


@pytest.mark.parametrize("ends", ["late", "killed"])
def test_what_was_attached_since_under_the_same_name_is_left_alone(
    node: Node, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    with stopped(node, "reading", caplog) as adding:
        assert node.client.call("DEL", node.conf).code == 0
        assert node.client.call("ADD", node.conf).code == 0
        if ends == "killed":
            adding.process.kill()
            until(lambda: "did not wait" in caplog.text)
        else:
            assert adding.go_on() == LATE
        node.pass_an_hour()
        assert node.holder() == "c1"
    assert node.bench.in_pod().up


def answer(connection: socket.socket) -> None:
    assert [shim.receive(connection)[0] for _ in range(2)] == [wire.ENVIRONMENT, wire.STDIN]
    connection.sendall(wire.answer(0, b"{}"))


def _hang_up(connection: socket.socket) -> None:
    """As every daemon does when all is well."""
    answer(connection)
    assert connection.recv(64) == wire.frame(wire.DELIVERED, b"\1")


def _withdraw(connection: socket.socket) -> None:
    _hang_up(connection)
    connection.sendall(wire.frame(wire.WITHDRAWN, b""))


def _crash(connection: socket.socket) -> None:
    """It has answered and closes without having read D: it was killed, or is older and has lost patience."""
    answer(connection)
    select.select([connection], [], [], SECONDS)


def _take_back(connection: socket.socket) -> None:
    """As an older one that has lost patience and takes D for the outcome of IPAM's DEL."""
    answer(connection)
    connection.sendall(wire.ipam_request("DEL", "nowhere"))
    connection.recv(64)


def _break(connection: socket.socket) -> None:
    _hang_up(connection)
    connection.sendall(wire.frame(wire.IPAM, b"no name"))


@pytest.mark.parametrize("shim_", shims.ALL)
@pytest.mark.parametrize(
    ("daemon", "status"),
    [(_hang_up, 0), (_withdraw, LATE), (_crash, LATE), (_take_back, LATE), (_break, LATE)],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_a_shim_succeeds_only_where_the_daemon_has_heard_it(
    shim_: str, daemon: Callable[[socket.socket], None], status: int, tmp_path: pathlib.Path
) -> None:
    command = shims.command(shim_)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        env = {"SRIOV_CNI_SOCKET": str(tmp_path / "s"), "CNI_COMMAND": "ADD", "CNI_PATH": "/nowhere"}
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env) as process:
            connection, _ = listening.accept()
            with connection:
                daemon(connection)
            printed, _ = process.communicate(timeout=SECONDS)
    assert (process.returncode, printed) == (status, b"{}")


def test_a_shim_of_before_is_served(node: Node) -> None:
    """It knows no W and takes whatever comes after D for the end."""
    env = {"COMMAND": "ADD", "CONTAINERID": "c1", "IFNAME": "net1", "NETNS": node.client.netns}
    harness.call_without_a_process(node.client.socket, json.dumps(node.conf).encode(), **env)
    assert node.holder() == "c1"
