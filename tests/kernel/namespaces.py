"""Named network namespaces of this machine for a test, removed afterwards."""

import contextlib
import dataclasses
import pathlib
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator

from sriov.linux import netns


@dataclasses.dataclass(frozen=True, slots=True)
class Namespace:
    """`name` is for `ip -n`, `path` for CNI_NETNS."""

    name: str
    handle: netns.Netns

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"


@contextlib.contextmanager
def made(purpose: str) -> Iterator[Namespace]:
    name = f"sriov-{purpose}-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with netns.open_path(f"/run/netns/{name}") as handle:
            yield Namespace(name, handle)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def open_descriptors() -> int:
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


def until(true: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait; returns whether it became true: the kernel does some things in its own time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
