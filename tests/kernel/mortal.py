"""CNI daemons and agents that get a signal right before one of their requests: `python -m tests.kernel.mortal ...`.

The daemons are in the mock node, the agents where the test is. They are forks of a process that has imported
everything, so that one is ready in milliseconds, and mortal.c is preloaded into all of them. Orders come on a
SOCK_SEQPACKET socket, one JSON array each: `["daemon", FLAGS]` and `["agent", FLAGS]` are answered with a PID,
`["reap", PID]` with the exit status once it has ended.
"""

import contextlib
import ctypes
import json
import mmap
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sriov.linux import kernel, netns
from sriov_agent import app as agent
from sriov_cni import app as daemon
from tests.fakes import mock_kernel, mock_node
from tests.lab import watched_kernel

PROJECT = pathlib.Path(__file__).parents[2]
_COUNTDOWN = struct.Struct("=iii")
_KINDS = ("daemon", "agent")
_SOURCE = pathlib.Path(__file__).with_name("mortal.c")
_PR_SET_PDEATHSIG = 1


class Nursery:
    """From the test's side. `log` is what all of them write."""

    def __init__(self, node: mock_node.MockNode, folder: pathlib.Path, preloaded: pathlib.Path) -> None:
        self.log = folder / "mortal.log"
        countdown = folder / "countdown"
        countdown.write_bytes(bytes(len(_KINDS) * _COUNTDOWN.size))
        with countdown.open("r+b") as file:
            self._countdown = mmap.mmap(file.fileno(), 0)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "tests.kernel.mortal", node.name, str(folder), str(theirs.fileno())]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "LD_PRELOAD": str(preloaded), "MORTAL": str(countdown)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=PROJECT, env=environment, pass_fds=[theirs.fileno()], stderr=log
            )
        theirs.close()
        self._alive: set[int] = set()

    def start(self, kind: str, *flags: str) -> int:
        self._alive.add(pid := int(self._order(kind, flags)))
        return pid

    def end(self, pid: int, number: signal.Signals = signal.SIGKILL) -> int:
        """Send the signal and wait for the end; returns the exit status, negative for a signal."""
        os.kill(pid, number)
        self._alive.discard(pid)
        return int(self._order("reap", pid))

    def close(self) -> None:
        for pid in list(self._alive):
            self.end(pid)
        self._channel.close()
        self._process.wait(10)
        self._countdown.close()

    @contextlib.contextmanager
    def signalled(self, at: int, number: signal.Signals = signal.SIGKILL, kind: str = "daemon") -> Iterator[None]:
        """Whoever of the kind makes the `at`-th request from now on gets the signal right before it; 1 is the next."""
        place = _KINDS.index(kind) * _COUNTDOWN.size
        _COUNTDOWN.pack_into(self._countdown, place, 1, at, number)
        try:
            yield
        finally:
            _COUNTDOWN.pack_into(self._countdown, place, 0, 0, 0)

    def _order(self, *words: object) -> Any:
        self._channel.send(json.dumps(words).encode())
        return json.loads(self._channel.recv(4096))


def preloaded(folder: pathlib.Path) -> pathlib.Path:
    """Compile mortal.c."""
    made = folder / "mortal.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", made, _SOURCE], check=True)
    return made


def state(pid: int) -> str:
    """A process's state, as proc_pid_stat(5) has it: T is stopped, Z dead."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _forked(work: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        status = 70
        try:
            status = work()
        finally:
            os._exit(status)
    return child


def _opener(folder: pathlib.Path) -> daemon.KernelOpener:
    """The mock kernel, whose requests count as one each."""
    counting, plain = ctypes.CDLL(None), mock_kernel.opener(folder)

    @contextlib.contextmanager
    def request() -> Iterator[None]:
        counting.request_begins()
        try:
            yield
        finally:
            counting.request_ends()

    @contextlib.contextmanager
    def opened() -> Iterator[kernel.Kernel]:
        with plain() as net:
            yield watched_kernel.around(net, request)

    return opened


def _run(kind: str, flags: Sequence[str], node: str, folder: pathlib.Path) -> int:
    ctypes.CDLL(None).be_of_kind(_KINDS.index(kind))
    if kind == "agent":
        return agent.main(flags)
    with netns.open_path(f"/run/netns/{node}") as host, netns.entered(host):
        return daemon.main(flags, _opener(folder))


def _serve(node: str, folder: pathlib.Path, channel: socket.socket) -> None:
    while order := channel.recv(4096):
        kind, what = json.loads(order)
        if kind == "reap":
            answer = os.waitstatus_to_exitcode(os.waitpid(what, 0)[1])
        else:
            answer = _forked(lambda: _run(kind, what, node, folder))  # noqa: B023  # in the child, at once
        channel.send(json.dumps(answer).encode())


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[3])) as orders:
        _serve(sys.argv[1], pathlib.Path(sys.argv[2]), orders)
