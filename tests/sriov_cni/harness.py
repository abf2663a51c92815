"""The CNI as a runtime meets it: the real shim as a process, the real daemon on a real socket, behind it any kernel."""

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sriov.attachment import node
from sriov.linux import netns
from sriov.state import ledger
from sriov_cni import server
from sriov_cni.context import calls
from sriov_cni.monitoring import endpoint
from sriov_cni.shim import shim, wire

PROJECT = pathlib.Path(__file__).parents[2]
SHIM = PROJECT / "sriov_cni/shim/shim.py"
PYTHON = (sys.executable, "-IS", str(SHIM))
"""The command line of the shim that needs no building."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a runtime gets. `document` is stdout as JSON, None where it is empty."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout) if self.stdout else None

    @property
    def code(self) -> int:
        """The error code, 0 for success. Checks the shape that every error has."""
        if self.status == 0:
            return 0
        assert set(self.document) <= {"cniVersion", "code", "msg", "details"}, self.document
        assert isinstance(self.document["msg"], str)
        return int(self.document["code"])

    @property
    def message(self) -> str:
        return f"{self.document['msg']} | {self.document.get('details', '')}"


def answer(status: int, stdout: bytes, stderr: bytes) -> Answer:
    """What a shim that has ended gave. A sanitizer's complaint is no answer."""
    assert b"Sanitizer" not in stderr, stderr.decode()
    assert b"runtime error:" not in stderr, stderr.decode()
    return Answer(status, stdout.decode(), stderr.decode())


@dataclasses.dataclass(frozen=True, slots=True)
class Client:
    """A runtime: environment and stdin in, Answer out. `shim` is the command line that it executes."""

    socket: pathlib.Path
    cni_path: str
    netns: str
    shim: Sequence[str] = PYTHON

    def call(self, command: str, stdin: object, **env: str | None) -> Answer:
        """Run the shim. `env` adds CNI_… variables without the prefix; None takes one away. Bytes go as they are."""
        usual = {"COMMAND": command, "CONTAINERID": "c1", "NETNS": self.netns, "IFNAME": "net1", "PATH": self.cni_path}
        chosen: Mapping[str, str | None] = {**usual, **env}
        environment = {f"CNI_{key}": value for key, value in chosen.items() if value is not None}
        data = stdin if isinstance(stdin, bytes) else json.dumps(stdin).encode()
        done = subprocess.run(
            self.shim,
            input=data,
            capture_output=True,
            env={
                "SRIOV_CNI_SOCKET": str(self.socket),
                "SRIOV_CNI_WAIT": "5",
                "PATH": os.environ["PATH"],
                **environment,
            },
            timeout=60,
            check=False,
        )
        return answer(done.returncode, done.stdout, done.stderr)


def call_without_a_process(socket: pathlib.Path, stdin: bytes, leased: str = "", **env: str) -> bytes:
    """What a shim does, by its own functions, in this process; returns stdout. `env` are CNI_… without the prefix.

    For where calls are many, or the machine takes long to start a process. An IPAM plugin is not run: its answer is
    `leased`. A call that fails raises AssertionError.
    """
    with contextlib.closing(shim.connect(os.fsencode(socket), 5)) as daemon:
        shim.send_call(daemon, {f"CNI_{key}".encode(): value.encode() for key, value in env.items()}, stdin)
        kind, payload = shim.receive(daemon)
        while kind == wire.IPAM:
            daemon.sendall(wire.frame(wire.IPAM, b"\0" + leased.encode()))
            kind, payload = shim.receive(daemon)
        assert (kind, payload[:1]) == (wire.ANSWER, b"\0"), payload
        daemon.sendall(wire.frame(wire.DELIVERED, b"\1"))
        try:
            further = shim.receive(daemon)
        except EOFError:
            return payload[1:]
        raise AssertionError(further)


def configuration(device: str, **keys: object) -> dict[str, object]:
    """A network configuration; None takes a key away."""
    usual: dict[str, object] = {"cniVersion": "1.1.0", "name": "n1", "type": "sriov", "deviceID": device}
    return {key: value for key, value in {**usual, **keys}.items() if value is not None}


@contextlib.contextmanager
def daemon(
    here: node.Node,
    book: ledger.Ledger,
    socket: pathlib.Path,
    adopt: Callable[[int], netns.Netns] = netns.adopt,
    monitor: endpoint.DaemonMonitor | None = None,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    **further: Any,
) -> Iterator[None]:
    """The daemon in a thread of this process. `further` are fields of calls.Daemon."""
    book.create()
    loop = loop or asyncio.new_event_loop()
    stop = asyncio.Event()

    async def served() -> None:
        made = calls.Daemon(here, book, meter=monitor.meter if monitor else None, **further)
        async with monitor.serving(made, socket) if monitor else contextlib.nullcontext():
            await server.Server(made, adopt).serve(socket, stop)

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(served())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    while thread.is_alive() and not socket.exists():
        time.sleep(0.005)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def ipam_plugin(folder: pathlib.Path, name: str, script: str) -> None:
    """An IPAM plugin that is a shell script; it notes each call in NAME.calls beside it."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "$CNI_COMMAND" >> "$0.calls"\ncat > "$0.stdin"\n{script}\n')
    path.chmod(0o755)


def ipam_calls(folder: pathlib.Path, name: str) -> list[str]:
    calls = folder / f"{name}.calls"
    return calls.read_text().split() if calls.exists() else []
