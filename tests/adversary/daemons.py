"""Daemons of the nursery, from the test's side: started and ended, and a runtime that calls whichever there is.

At a chosen request of a daemon something may be done to the world, while the daemon waits: a death, another daemon.
"""

import contextlib
import dataclasses
import json
import mmap
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from sriov.linux import netns
from sriov_cni.shim import shim, wire
from tests.adversary import nursery

PROJECT = pathlib.Path(__file__).parents[2]
_CONNECT_SECONDS = 10
_CALL_SECONDS = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Answer to a runtime. `code` 0 is success; `died` is a daemon that never answered."""

    code: int = 0
    document: Any = None
    died: bool = False

    @property
    def ok(self) -> bool:
        return not self.died and self.code == 0


@dataclasses.dataclass(frozen=True, slots=True)
class Daemon:
    pid: int
    log: pathlib.Path

    @property
    def alive(self) -> bool:
        try:
            return pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    @property
    def serves(self) -> bool:
        """Whether it has the run directory, or has had it; another waits until then."""
        return "listening on" in self.log.read_text()


@dataclasses.dataclass(frozen=True, slots=True)
class Interruption:
    """Interruption at the `at`-th place between a daemon's requests, 1 for before the first; the daemon waits.

    `deed` is called with the PID, and returns the daemon's order: GO_ON, REFUSE, or nothing if it has been killed.
    """

    at: int = 0
    deed: Callable[[int], bytes] = lambda _: nursery.GO_ON


NONE = Interruption()


class Nursery:
    """Nursery of one test: its daemons are processes below it, in the host's namespace, and end with it."""

    def __init__(self, host: netns.Netns, folder: pathlib.Path, *, is_mock: bool) -> None:
        self._folder = folder
        countdown = folder / "countdown"
        countdown.write_bytes(nursery.COUNTDOWN.pack(0, 0))
        with countdown.open("r+b") as file:
            self._countdown = mmap.mmap(file.fileno(), nursery.COUNTDOWN.size)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._events, waiting = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        given = (theirs.fileno(), waiting.fileno())
        kind = "mock" if is_mock else "real"
        command = [sys.executable, "-P", "-m", "tests.adversary.nursery", kind, str(folder), *map(str, given)]
        with netns.entered(host):
            environment = {**os.environ, "PYTHONPATH": "."}
            self._process = subprocess.Popen(command, cwd=PROJECT, pass_fds=given, env=environment)
        theirs.close()
        waiting.close()
        self.daemons: list[Daemon] = []
        self._born = 0

    def close(self) -> None:
        self.end_all()
        self._channel.close()
        self._process.wait(10)
        self._events.close()
        self._countdown.close()

    def start(self, run_dir: pathlib.Path, *, binds: bool) -> Daemon:
        self._born += 1
        log = run_dir.with_suffix(f".{self._born}.log")
        made = Daemon(int(self._order("start", str(run_dir), str(log), binds)), log)
        self.daemons.append(made)
        return made

    def end(self, daemon: Daemon, number: signal.Signals) -> int:
        """Send the signal and wait for the end; returns the exit status."""
        os.kill(daemon.pid, number)
        return self.reap(daemon)

    def reap(self, daemon: Daemon) -> int:
        self.daemons.remove(daemon)
        self.drain()
        return int(self._order("reap", daemon.pid))

    def end_all(self) -> None:
        for daemon in list(self.daemons):
            self.end(daemon, signal.SIGKILL)

    def _order(self, *words: object) -> Any:
        self._channel.send(json.dumps(words).encode())
        return json.loads(self._channel.recv(4096))

    def call(
        self,
        socket_path: pathlib.Path,
        env: Mapping[str, str],
        stdin: object,
        lease: object = None,
        interruption: Interruption = NONE,
    ) -> Answer:
        """Do in this process what a shim does. `lease` is the IPAM plugin's answer to an ADD."""
        self.drain()
        self._countdown[:] = nursery.COUNTDOWN.pack(interruption.at > 0, interruption.at)
        try:
            with contextlib.closing(shim.connect(os.fsencode(socket_path), _CONNECT_SECONDS)) as daemon:
                encoded = {f"CNI_{key}".encode(): value.encode() for key, value in env.items()}
                shim.send_call(daemon, encoded, json.dumps(stdin).encode())
                return self._conversation(daemon, lease, interruption)
        except (OSError, EOFError):
            return Answer(died=True)
        finally:
            self._countdown[:] = nursery.COUNTDOWN.pack(0, 0)

    def _conversation(self, daemon: Any, lease: object, interruption: Interruption) -> Answer:
        answer: Answer | None = None
        while True:
            self._await(daemon, interruption)
            try:
                kind, payload = shim.receive(daemon)
            except EOFError:
                if answer is None:
                    raise
                return answer
            if kind == wire.IPAM:
                output = json.dumps(lease).encode() if payload.startswith(b"ADD") else b""
                daemon.sendall(wire.frame(wire.IPAM, b"\0" + output))
            elif kind == wire.ANSWER:
                answer = _read(payload)
                daemon.sendall(wire.frame(wire.DELIVERED, b"\1"))

    def _await(self, daemon: Any, interruption: Interruption) -> None:
        """Wait until the daemon sends something to the shim, or has gone; carry out interruptions meanwhile."""
        deadline = time.monotonic() + _CALL_SECONDS
        while time.monotonic() < deadline:
            ready, _, _ = select.select([daemon, self._events], [], [], 1)
            if self._events in ready:
                pid = int(self._events.recv(64))
                if said := interruption.deed(pid):
                    self._events.send(said)
            elif ready:
                return
        raise AssertionError("the daemon has not answered for a minute")

    def drain(self) -> None:
        """Let a daemon go on that came to the place when the call was over."""
        while select.select([self._events], [], [], 0)[0]:
            self._events.recv(64)
            self._events.send(nursery.GO_ON)


def _read(payload: bytes) -> Answer:
    document: Any = json.loads(payload[1:]) if len(payload) > 1 else None
    if payload[0] == 0:
        return Answer(0, document)
    return Answer(int(document["code"]), document)
