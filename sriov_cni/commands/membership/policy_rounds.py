"""Policies stay in force while pods run: as they change, and although a pod may change its own rules."""

import asyncio
import contextlib
import time

from sriov import errors
from sriov.state import policy_notes
from sriov_cni.context.calls import Daemon, Enforcement, PolicySource
from sriov_cni.dataplane.policies import policy_holdings

INTERVAL = 5.0  # seconds between two looks at what is in the pods


async def keep(daemon: Daemon, interval: float = INTERVAL) -> None:
    """Take over the attachments of the ledger, then put every change in force, until cancelled."""
    if daemon.policies is None or daemon.enforcement is None:
        return
    await asyncio.to_thread(adopt, daemon, daemon.enforcement)
    rounds = _Rounds(daemon, daemon.policies, daemon.enforcement, interval)
    async with asyncio.TaskGroup() as group:
        group.create_task(daemon.tasks.keep("following policies", rounds.run))
        group.create_task(daemon.tasks.every(interval, "keeping policies in force", rounds.tell_failure))


def adopt(daemon: Daemon, enforcement: Enforcement) -> None:
    """Take over the attachments of the ledger. Blocks."""
    for record in daemon.book.records():
        if record.policy is not None:
            driver = record.driver if record.home is None else ""
            enforcement.adopt(policy_holdings.of(record.owner, record.policy, record.host_link, record.netns, driver))


class _Rounds:
    """Each is for all pods. One whose rules cannot be made, which may be its own doing, must not delay the others: the
    next round comes when it is due, and the failure is told beside."""

    def __init__(self, daemon: Daemon, source: PolicySource, enforcement: Enforcement, interval: float) -> None:
        self._daemon, self._source, self._enforcement, self._interval = daemon, source, enforcement, interval
        self._failure: errors.SriovError | None = None

    async def run(self) -> None:
        """Put every change in force, until cancelled."""
        clock, source = asyncio.get_running_loop().time, self._source
        looked = -self._interval
        while True:
            look = clock() - looked >= self._interval
            if look:
                looked = clock()
            await self._round(look=look)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(source.changed(), max(0.0, looked + self._interval - clock()))

    async def tell_failure(self) -> None:
        """Raise the failure of the last round, if there was one."""
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    async def _round(self, *, look: bool) -> None:
        source, enforcement = self._source, self._enforcement
        before = enforcement.repaired
        try:
            await asyncio.to_thread(enforcement.bring_all, source.rules_of, look=look, confirmed=source.confirmed())
            self._failure = None
        except errors.SriovError as error:
            self._failure = error
        await asyncio.to_thread(_tell, self._daemon, source, enforcement, enforcement.repaired - before)


def _tell(daemon: Daemon, source: PolicySource, enforcement: Enforcement, repaired: int) -> None:
    """Count what was done, and write down what holds, for who may not look into pods. Raises LedgerError."""
    notes = enforcement.notes()
    if daemon.meter is not None:
        daemon.meter.policies_repaired(repaired)
        daemon.meter.policies_failing(sum(bool(each.problem) for each in notes))
    if daemon.notes is not None:
        now, silence = time.time(), source.silence()
        daemon.notes.write(
            policy_notes.PolicyNotes(looked=now, silent_since=now - silence if silence else None, pods=notes)
        )
