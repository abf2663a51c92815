"""The table of policies in force: who asks for a pod's rules, who waits for a pod, and who follows the changes.

The table is replaced and never changed, so that any thread may read it. It stays as it was whatever happens to the
agent: a change that is not taken leaves the former table.
"""

import asyncio
from collections.abc import Callable

from sriov import errors
from sriov.cluster import pod_policies, policies, policy_changes, policy_frames

_Pod = tuple[str, str, str]
"""Namespace, name and UID."""


class PolicyTables:
    """Made in an event loop, in which those who wait are.

    `ask` sends the agent a request for a pod; `silence` is for how many seconds it has not been connected; `confirmed`
    is whether it has sent the table to this daemon.
    """

    def __init__(self) -> None:
        self.ask: Callable[[bytes], None] = lambda _frame: None
        self.silence: Callable[[], float] = lambda: 0.0
        self.confirmed: Callable[[], bool] = lambda: False
        self._table: policies.PolicyTable | None = None
        self._loop = asyncio.get_running_loop()
        self._awaited: dict[_Pod, list[asyncio.Event]] = {}
        self._news = asyncio.Event()

    @property
    def table(self) -> policies.PolicyTable | None:
        """None before there was one: then nothing is known of any pod, which is not that everything may pass."""
        return self._table

    def usage(self) -> dict[str, tuple[int, int]]:
        """Return how many of each the table has, and how many there is room for."""
        return policy_frames.usage(self._table or policies.PolicyTable())

    def rules_of(self, namespace: str, pod: str, network: str, uid: str = "") -> pod_policies.PodPolicy | None:
        """Return what holds; None for a pod that is not known. `network` is "" for the cluster's own, else a name as a
        network configuration has it."""
        return None if self._table is None else pod_policies.of(self._table, namespace, pod, network, uid)

    async def wait_for(
        self, namespace: str, pod: str, network: str, seconds: float, uid: str = ""
    ) -> pod_policies.PodPolicy | None:
        """The same, and wait these seconds for a pod that is not known yet. The agent is asked for it."""
        if not self._knows((namespace, pod, uid)):
            await self._wait((namespace, pod, uid), seconds)
        return self.rules_of(namespace, pod, network, uid)

    def unwatched(self, network: str) -> str:
        """Return the kind of policies that are for this network and that the agent does not watch; "" without an
        agent's table."""
        return "" if self._table is None else pod_policies.unwatched(self._table, network)

    async def changed(self) -> None:
        """Return when something has changed for some pod since the last return. For one caller at a time."""
        await self._news.wait()
        self._news.clear()

    async def _wait(self, key: _Pod, seconds: float) -> None:
        namespace, pod, _ = key
        if not all(map(policy_changes.is_object_name, (namespace, pod))):
            return
        came = asyncio.Event()
        waiting = self._awaited.setdefault(key, [])
        waiting.append(came)
        if len(waiting) == 1:
            self.ask(policy_frames.request(namespace, pod))
        try:
            async with asyncio.timeout(seconds):
                await came.wait()
        except TimeoutError:
            pass
        finally:
            waiting.remove(came)
            if not waiting:
                self._awaited.pop(key, None)

    def _knows(self, key: _Pod) -> bool:
        return self._table is not None and pod_policies.knows(self._table, *key)

    def take(self, change: policies.PolicyChange) -> None:
        """Bring a change into force. Raises SriovError, and then the table is as it was. For one thread at a time."""
        if self._table is None and not change.whole:
            raise errors.SriovError("table of policies: a change of a table that is not there", "send the whole table")
        before = self._table or policies.PolicyTable()
        table = policies.applied(before, change)
        policy_frames.fitting(table)
        news = policy_changes.difference(before, table) if change.whole else change
        self._table = table
        if places := policy_changes.concerned(table, news):
            self._loop.call_soon_threadsafe(self._tell, places)

    def whole(self) -> policies.PolicyChange:
        """Return the change that makes the table in force of none."""
        return policy_changes.whole(self._table or policies.PolicyTable())

    def _tell(self, places: frozenset[policies.Place]) -> None:
        told = {place[:2] for place in places}
        for key, waiting in self._awaited.items():
            if key[:2] in told and self._knows(key):
                for came in waiting:
                    came.set()
        self._news.set()
