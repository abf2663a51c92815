"""Policies stay in force while pods run: as they change, and although a pod may change its own rules."""

import asyncio
import contextlib
import functools

from sriov_cni.commands.membership import policy_requests
from sriov_cni.context.calls import Daemon, Enforcement, PolicySource

INTERVAL = 5.0  # seconds between two looks at what is in the pods


async def keep(daemon: Daemon, interval: float = INTERVAL) -> None:
    """Take over the attachments of the ledger, then put every change in force, until cancelled."""
    if daemon.policies is None or daemon.enforcement is None:
        return
    await asyncio.to_thread(_adopt, daemon, daemon.enforcement)
    await daemon.tasks.keep(
        "keeping policies in force", functools.partial(_keep, daemon, daemon.policies, daemon.enforcement, interval)
    )


def _adopt(daemon: Daemon, enforcement: Enforcement) -> None:
    for record in daemon.book.records():
        if record.policy is not None:
            enforcement.adopt(policy_requests.of(record.owner, record.policy, record.host_link, record.netns))


async def _keep(daemon: Daemon, source: PolicySource, enforcement: Enforcement, interval: float) -> None:
    clock = asyncio.get_running_loop().time
    looked = -interval
    while True:
        look = clock() - looked >= interval
        if look:
            looked = clock()
        before = enforcement.repaired
        try:
            await asyncio.to_thread(enforcement.bring_all, source.rules_of, look=look)
        finally:
            if daemon.meter is not None and enforcement.repaired > before:
                daemon.meter.policies_repaired(enforcement.repaired - before)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(source.changed(), max(0.0, looked + interval - clock()))
