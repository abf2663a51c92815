"""Policies of the cluster's pods in memory, behind the Protocol that the daemon has for what the agent sends."""

import asyncio
import pathlib

import msgspec

from sriov.cluster import pod_policies, policies


class TableSource:
    """What `table` says. `put` may be called by any thread."""

    def __init__(self, table: policies.PolicyTable | None = None) -> None:
        self.table = table or policies.PolicyTable()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def put(self, table: policies.PolicyTable) -> None:
        self.table = table
        for loop, event in list(self._waiting):
            loop.call_soon_threadsafe(event.set)

    def rules_of(self, namespace: str, pod: str, network: str) -> pod_policies.PodPolicy | None:
        return pod_policies.of(self.table, namespace, pod, network)

    async def wait_for(self, namespace: str, pod: str, network: str, seconds: float) -> pod_policies.PodPolicy | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (found := self.rules_of(namespace, pod, network)) is None and loop.time() < deadline:
            await asyncio.sleep(0.01)
        return found

    async def changed(self) -> None:
        mine = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(mine)
        try:
            await mine[1].wait()
        finally:
            self._waiting.discard(mine)


class FileSource(TableSource):
    """The same of a file, which another process writes; it is looked at often. Without the file nobody is known."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self._path = path
        self._seen = 0

    def rules_of(self, namespace: str, pod: str, network: str) -> pod_policies.PodPolicy | None:
        self._read()
        return super().rules_of(namespace, pod, network)

    async def changed(self) -> None:
        while not self._read():
            await asyncio.sleep(0.005)

    def _read(self) -> bool:
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp == self._seen:
                return False
            self.table = decoded(self._path.read_bytes())
        except FileNotFoundError:
            return False
        self._seen = stamp
        return True


def taken(options: list[str]) -> tuple[FileSource | None, list[str]]:
    """Take `--policies FILE` from a daemon's options."""
    if "--policies" not in options:
        return None, options
    at = options.index("--policies")
    return FileSource(pathlib.Path(options[at + 1])), [*options[:at], *options[at + 2 :]]


def write(path: pathlib.Path, table: policies.PolicyTable) -> None:
    draft = path.with_suffix(".draft")
    draft.write_bytes(msgspec.msgpack.encode((table.sets, table.grants, list(table.rules.items()))))
    draft.rename(path)


def decoded(data: bytes) -> policies.PolicyTable:
    shape = tuple[dict[str, frozenset[bytes]], dict[str, policies.Grant], list[tuple[policies.Place, policies.Rules]]]
    sets, grants, rules = msgspec.msgpack.decode(data, type=shape)
    return policies.PolicyTable(sets, grants, dict(rules))
