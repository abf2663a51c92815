"""The guest's own QEMU, told from inside to unplug a card and to plug it in: QMP on the port `orders`.

QMP is docs/interop/qmp-spec.rst in QEMU's source. Only for what no file of the guest can do.
"""

import contextlib
import json
import os
import pathlib
import select
import time
from collections.abc import Iterator
from typing import Any

PATIENCE = 60.0  # seconds for an answer: of QEMU itself, which is there at once, and of a guest that is asked by it


class RefusedError(Exception):
    """QEMU's own words."""


class SilentError(Exception):
    """QEMU has not said in time what was waited for."""


class Monitor:
    """An open port. The greeting comes once a boot, whoever reads it, and negotiating twice is an error: both pass."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._rest = b""
        with contextlib.suppress(RefusedError):
            self.do("qmp_capabilities")

    def do(self, command: str, **arguments: object) -> object:
        """Raises RefusedError."""
        os.write(self._port, json.dumps({"execute": command, "arguments": arguments, "id": command}).encode() + b"\n")
        deadline = time.monotonic() + PATIENCE
        while (said := self._read(deadline)).get("id") != command:
            pass
        if "error" in said:
            raise RefusedError(said["error"]["desc"])
        return said["return"]

    def wait_for(self, event: str, **data: object) -> None:
        """Until QEMU says that this has happened. Raises SilentError after PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while True:
            said = self._read(deadline)
            if said.get("event") == event and data.items() <= said["data"].items():
                return

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._rest:
            if not select.select([self._port], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise SilentError(f"QEMU said nothing that was waited for in {PATIENCE:.0f} s; unread: {self._rest!r}")
            self._rest += os.read(self._port, 1 << 16)
        line, _, self._rest = self._rest.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said


@contextlib.contextmanager
def monitor() -> Iterator[Monitor]:
    """One process at a time: the kernel refuses a second."""
    [port] = pathlib.Path("/dev").glob("vport*p3")
    descriptor = os.open(port, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield Monitor(descriptor)
    finally:
        os.close(descriptor)
