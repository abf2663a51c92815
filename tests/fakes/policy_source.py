"""Policies of the cluster's pods in memory, behind the Protocol that the daemon has for what the agent sends."""

import asyncio
import pathlib

import msgspec

from sriov import errors
from sriov.cluster import pod_policies, policies
from sriov.linux import kernel, netns
from sriov.state import policy_notes


class TableSource:
    """What `table` says. `put` may be called by any thread. `quiet` is for how many seconds no agent has been there."""

    def __init__(self, table: policies.PolicyTable | None = None, quiet: float = 0.0) -> None:
        self.table = table or policies.PolicyTable()
        self.quiet = quiet
        self._version = self._told = 0

    def put(self, table: policies.PolicyTable) -> None:
        self.table = table
        self._version += 1

    def rules_of(self, namespace: str, pod: str, network: str, uid: str = "") -> pod_policies.PodPolicy | None:
        self.look()
        return pod_policies.of(self.table, namespace, pod, network, uid)

    async def wait_for(
        self, namespace: str, pod: str, network: str, seconds: float, uid: str = ""
    ) -> pod_policies.PodPolicy | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (found := self.rules_of(namespace, pod, network, uid)) is None and loop.time() < deadline:
            await asyncio.sleep(0.01)
        return found

    def unwatched(self, network: str) -> str:
        self.look()
        return pod_policies.unwatched(self.table, network)

    async def changed(self) -> None:
        while self._told == self._version:
            await asyncio.sleep(0.005)
            self.look()
        self._told = self._version

    def silence(self) -> float:
        return self.quiet

    def confirmed(self) -> bool:
        return True

    def look(self) -> None:
        """See whether there is another table."""


class NotedEnforcement:
    """An enforcement that does nothing, says what it was told to, and fails if it is to."""

    def __init__(self, *notes: policy_notes.PolicyNote, failure: errors.SriovError | None = None) -> None:
        self.repaired = 0
        self.adopted: list[pod_policies.PolicedPod] = []
        self._notes, self._failure = notes, failure

    def adopt(self, holding: pod_policies.PolicedPod) -> None:
        self.adopted.append(holding)

    def hold(self, inner: kernel.Kernel, holding: pod_policies.PolicedPod, policy: pod_policies.PodPolicy) -> None:
        """Nothing is held."""

    def arrived(self, inner: kernel.Kernel, key: tuple[tuple[int, int], str], device: str) -> None:
        """Nothing is held."""

    def remember(self, key: tuple[tuple[int, int], str]) -> None:
        """Nothing is held."""

    def mark_of(self, key: tuple[tuple[int, int], str]) -> int:
        return 0

    def release(self, key: tuple[tuple[int, int], str], pod: netns.Netns | None) -> None:
        """Nothing is held."""

    def problems(self) -> list[str]:
        wrong = (each for each in self._notes if each.problem)
        return [f"policies of {e.namespace}/{e.pod} ({e.interface}) are not in force: {e.problem}" for e in wrong]

    def bring_all(self, rules_of: object, *, look: bool, confirmed: bool = True) -> None:
        if self._failure is not None:
            raise self._failure

    def notes(self) -> tuple[policy_notes.PolicyNote, ...]:
        return self._notes

    def difference(self, inner: kernel.Kernel, holding: pod_policies.PolicedPod, rules_of: object) -> str:
        return ""


class FileSource(TableSource):
    """The same of a file, which another process writes. Without the file nobody is known."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self._path = path
        self._seen = 0

    def look(self) -> None:
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp != self._seen:
                self.put(decoded(self._path.read_bytes()))
                self._seen = stamp
        except FileNotFoundError:
            return


def taken(options: list[str]) -> tuple[FileSource | None, list[str]]:
    """Take `--policies FILE` from a daemon's options."""
    if "--policies" not in options:
        return None, options
    at = options.index("--policies")
    return FileSource(pathlib.Path(options[at + 1])), [*options[:at], *options[at + 2 :]]


def write(path: pathlib.Path, table: policies.PolicyTable) -> None:
    draft = path.with_suffix(".draft")
    draft.write_bytes(msgspec.msgpack.encode((table.sets, table.grants, list(table.rules.items()), table.kinds)))
    draft.rename(path)


def decoded(data: bytes) -> policies.PolicyTable:
    rules_shape = list[tuple[policies.Place, policies.Rules]]
    shape = tuple[dict[str, frozenset[bytes]], dict[str, policies.Grant], rules_shape, frozenset[str]]
    sets, grants, rules, kinds = msgspec.msgpack.decode(data, type=shape)
    return policies.PolicyTable(sets, grants, dict(rules), kinds)
