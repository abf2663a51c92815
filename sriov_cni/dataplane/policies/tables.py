"""The table of policies in force: who asks for a pod's rules, who waits for a pod, and who hears of changes.

The table is replaced and never changed, so that any thread may read it. It stays as it was whatever happens to the
agent: a change that is not taken leaves the former table.
"""

import asyncio
from collections.abc import Callable

from sriov import errors
from sriov.cluster import policies, policy_changes, policy_frames

Listener = Callable[[frozenset[policies.Place]], None]
"""Hears, on the loop, of which pods and networks something has changed. The table has the change already."""

_Pod = tuple[str, str]


class PolicyTables:
    """Made in an event loop, in which listeners are called. `ask` sends the agent a request for a pod."""

    def __init__(self) -> None:
        self.ask: Callable[[bytes], None] = lambda _frame: None
        self._table: policies.PolicyTable | None = None
        self._loop = asyncio.get_running_loop()
        self._listeners: list[Listener] = []
        self._awaited: dict[_Pod, list[asyncio.Event]] = {}

    @property
    def table(self) -> policies.PolicyTable | None:
        """None before there was one: then nothing is known of any pod, which is not that everything may pass."""
        return self._table

    def rules_of(self, namespace: str, pod: str, network: str) -> policies.Rules | None:
        """Return what may pass; None if the pod is not known. `network` is namespace/name, "" for the cluster's own."""
        rules = policies.PolicyTable().rules if self._table is None else self._table.rules
        if (namespace, pod, "") not in rules:
            return None
        return rules.get((namespace, pod, network), policies.Rules())

    async def known(self, namespace: str, pod: str, seconds: float) -> bool:
        """Report whether the pod is in the table; the agent is asked for one that is not, and has these seconds."""
        if self.rules_of(namespace, pod, "") is not None:
            return True
        if not (policy_changes.is_object_name(namespace) and policy_changes.is_object_name(pod)):
            return False
        came = asyncio.Event()
        waiting = self._awaited.setdefault((namespace, pod), [])
        waiting.append(came)
        try:
            async with asyncio.timeout(seconds):
                if len(waiting) == 1:
                    self.ask(policy_frames.request(namespace, pod))
                await came.wait()
        except TimeoutError:
            return False
        finally:
            waiting.remove(came)
            if not waiting:
                self._awaited.pop((namespace, pod), None)
        return True

    def subscribe(self, listener: Listener) -> None:
        """Have it hear of changes from now on; of those before, the table knows."""
        self._listeners.append(listener)

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
        for namespace, pod, _ in places:
            if self.rules_of(namespace, pod, "") is not None:
                for came in self._awaited.get((namespace, pod), ()):
                    came.set()
        for listener in self._listeners:
            listener(places)
