"""Nursery of daemons, each a process started by a fork: `python -m tests.adversary.nursery KIND FOLDER CHANNEL EVENTS`.

It has imported everything and started no thread, so that a daemon is ready in milliseconds. Its namespace is the host;
with KIND `mock` the daemons have the mock node in FOLDER, with `real` this machine's kernel and sysfs. CHANNEL and
EVENTS are descriptors of SOCK_SEQPACKET sockets. Orders come on the first, one JSON array each:
`["start", RUN_DIR, LOG, BINDS]` is answered with a PID; BINDS is whether the daemon may bind drivers;
`["reap", PID]` is answered with the exit status once it has ended. On the second a daemon reports that it waits.
"""

import contextlib
import ctypes
import dataclasses
import errno
import json
import mmap
import os
import pathlib
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from sriov import errors
from sriov.attachment import node
from sriov.linux import kernel, sysfs_writes
from sriov_cni import app as daemon
from tests.fakes import mock_drivers, mock_kernel
from tests.lab import watched_kernel

GO_ON, REFUSE = b"g", b"r"
COUNTDOWN = struct.Struct("=ii")
"""Whether it counts, which only the test writes, and how many places are left, which daemons count down."""
_PR_SET_PDEATHSIG = 1


class Gate:
    """Shared by all daemons: before or after the request at which the countdown ends, a daemon asks and waits.

    The request may then be refused, even if it is done already, as do_setlink() does in net/core/rtnetlink.c.
    """

    def __init__(self, folder: pathlib.Path, events: socket.socket) -> None:
        with (folder / "countdown").open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), COUNTDOWN.size)
        self._events = events
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        self._pass()
        yield
        self._pass()

    def _pass(self) -> None:
        with self._lock:
            armed, left = COUNTDOWN.unpack(self._memory[:])
            if armed:
                self._memory[4:] = COUNTDOWN.pack(0, max(0, left - 1))[4:]
        if armed and left == 1:
            self._events.send(str(os.getpid()).encode())
            if self._events.recv(1) == REFUSE:
                raise errors.KernelError("do as the daemon asks", errno.EIO, "a test has it refused")


KernelOpener = Callable[[], AbstractContextManager[kernel.Kernel]]


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """Surroundings of a daemon."""

    kernel: KernelOpener
    writer: sysfs_writes.Attributes
    sysfs: pathlib.Path
    patience: float


def setting(kind: str, folder: pathlib.Path) -> Setting:
    if kind == "mock":
        # What the kernel does in its own time has happened already when a schedule goes on.
        return Setting(mock_kernel.opener(folder), mock_drivers.MockDrivers(folder), folder / "sys", patience=0.3)
    root = pathlib.Path("/sys")
    return Setting(daemon.open_netlink, sysfs_writes.Sysfs(root), root, node.PATIENCE)


def opener(plain: KernelOpener, gate: Gate) -> KernelOpener:
    @contextlib.contextmanager
    def opened() -> Iterator[kernel.Kernel]:
        with plain() as net:
            yield watched_kernel.around(net, gate.request)

    return opened


class Writer:
    """Binds drivers, or acts as a read-only sysfs."""

    def __init__(self, plain: sysfs_writes.Attributes, gate: Gate, *, binds: bool) -> None:
        self._plain = plain
        self._gate = gate
        self._binds = binds

    def write(self, path: str, value: str) -> None:
        if not self._binds:
            raise errors.KernelError(f"write {value!r} to {path}", errno.EROFS)
        with self._gate.request():
            self._plain.write(path, value)


class Nursery:
    def __init__(self, kind: str, folder: pathlib.Path, events: socket.socket) -> None:
        self._setting = setting(kind, folder)
        self._none = str(folder / "none")
        self._gate = Gate(folder, events)

    def start(self, run_dir: str, log: str, binds: bool) -> int:
        child = os.fork()
        if child == 0:
            self._serve(run_dir, log, binds)
        return child

    def _serve(self, run_dir: str, log: str, binds: bool) -> None:
        """Serve, in the child: nothing of the parent runs in it."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        status, around = 70, self._setting
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            places = {"--run-dir": run_dir, "--sysfs": str(around.sysfs)}
            places |= dict.fromkeys(("--policy", "--predecessor-dir", "--pod-resources-socket"), self._none)
            flags = [word for pair in places.items() for word in pair]
            writer = Writer(around.writer, self._gate, binds=binds)
            status = daemon.main(flags, opener(around.kernel, self._gate), around.patience, writer)
        finally:
            os._exit(status)


def serve(nursery: Nursery, channel: socket.socket) -> None:
    orders: dict[str, Callable[..., int]] = {"start": nursery.start, "reap": _reap}
    while order := channel.recv(4096):
        name, *arguments = json.loads(order)
        channel.send(json.dumps(orders[name](*arguments)).encode())


def _reap(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sockets = [socket.socket(fileno=int(each)) for each in sys.argv[3:5]]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    serve(Nursery(sys.argv[1], pathlib.Path(sys.argv[2]), sockets[1]), sockets[0])
