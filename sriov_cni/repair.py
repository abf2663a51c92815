"""VFs whose owner is gone come home without a DEL: they are found here, at the daemon's start and now and then."""

import asyncio

from sriov import errors, ledger
from sriov_cni.calls import Daemon, log

INTERVAL = 10.0  # seconds


async def keep_repairing(daemon: Daemon, interval: float = INTERVAL) -> None:
    """Look at once and every `interval` seconds, until cancelled. Addresses stay leased until their DEL comes."""
    while True:
        await repair(daemon)
        await asyncio.sleep(interval)


async def repair(daemon: Daemon) -> None:
    """Finish the detach of every VF that has a record and is in the host all the same."""
    try:
        records = list(daemon.book.records())
    except errors.LedgerError as error:
        log.error("repair: %s", error)
        return
    for record in records:
        if _is_home(daemon, record):
            await _finish(daemon, record)


async def _finish(daemon: Daemon, seen: ledger.Record) -> None:
    """An ADD under way has a record before its VF has moved: it also has the lock."""
    try:
        async with daemon.vf_locks.of(seen.pci):
            record = daemon.book.read(seen.pci)
            if record == seen and _is_home(daemon, record):
                await asyncio.to_thread(daemon.detach, record, None)
                log.warning("VF %s came home without a DEL of %s: restored", record.pci, record.owner.container_id)
    except errors.SriovError as error:
        log.error("VF %s of %s cannot be restored yet: %s", seen.pci, seen.owner.container_id, error)


def _is_home(daemon: Daemon, record: ledger.Record) -> bool:
    """A VF without a netdev does not move, so that its place says nothing about its owner."""
    return record.home is not None and daemon.node.tree.netdev(record.pci) is not None
