"""Policies stay in force while pods run: as they change, and although a pod may change its own rules."""

import asyncio
import contextlib
import functools
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
    await daemon.tasks.keep(
        "keeping policies in force", functools.partial(_keep, daemon, daemon.policies, daemon.enforcement, interval)
    )


def adopt(daemon: Daemon, enforcement: Enforcement) -> None:
    """Take over the attachments of the ledger. Blocks."""
    for record in daemon.book.records():
        if record.policy is not None:
            driver = record.driver if record.home is None else ""
            enforcement.adopt(policy_holdings.of(record.owner, record.policy, record.host_link, record.netns, driver))


async def _keep(daemon: Daemon, source: PolicySource, enforcement: Enforcement, interval: float) -> None:
    clock = asyncio.get_running_loop().time
    looked = -interval
    while True:
        look = clock() - looked >= interval
        if look:
            looked = clock()
        before, failure = enforcement.repaired, None
        try:
            await asyncio.to_thread(enforcement.bring_all, source.rules_of, look=look)
        except errors.SriovError as error:
            failure = error
        await asyncio.to_thread(_tell, daemon, source, enforcement, enforcement.repaired - before)
        if failure is not None:
            raise failure
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(source.changed(), max(0.0, looked + interval - clock()))


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
