"""VFs whose owner is gone without a DEL: they are found here, at the daemon's start and now and then."""

import asyncio
import functools

from observability import logs
from sriov import devices, errors, inventory, ledger
from sriov_cni.calls import Daemon, log

INTERVAL = 10.0  # seconds


async def keep_repairing(daemon: Daemon, interval: float = INTERVAL) -> None:
    """Look at once and every `interval` seconds, until cancelled. Addresses stay leased until their DEL comes."""
    await get_to_know(daemon)
    while True:
        await repair(daemon)
        await asyncio.sleep(interval)


async def get_to_know(daemon: Daemon) -> None:
    """Note the own address of each VF that is nobody's, before anybody can give it another. Once, at the start."""
    found = await asyncio.to_thread(inventory.scan, daemon.node.tree)
    for pci in found.vfs:
        try:
            async with daemon.vf_locks.of(pci) as held:
                await held.run(_note, daemon, pci)
        except errors.SriovError as error:
            log.error("VF %s is not known yet: %s", pci, error)


def _note(daemon: Daemon, pci: devices.PciAddress) -> None:
    netdev = daemon.node.tree.netdev(pci)
    if netdev is not None and daemon.record_of(pci) is None:
        with daemon.node.kernel() as net:
            daemon.book.homes.settle(daemon.node.tree, pci, netdev, functools.partial(net.state, netdev.index))


async def repair(daemon: Daemon) -> None:
    """Finish the detach of every VF that has a record and no living owner."""
    try:
        records = list(daemon.book.records())
    except errors.LedgerError as error:
        log.error("repair: %s", error)
        return
    for record in records:
        if await asyncio.to_thread(_is_over, daemon, record):
            await _finish(daemon, record)


async def _finish(daemon: Daemon, seen: ledger.Record) -> None:
    """An ADD under way has a record before its VF has moved: it also has the lock."""
    with logs.within(**seen.owner.facts, vf=seen.pci):
        await _finish_one(daemon, seen)


async def _finish_one(daemon: Daemon, seen: ledger.Record) -> None:
    try:
        async with daemon.vf_locks.of(seen.pci) as held:
            if await held.run(_end, daemon, seen):
                _count(daemon, restored=True)
                log.warning("VF %s was left without a DEL of %s: restored", seen.pci, seen.owner)
    except errors.SriovError as error:
        _count(daemon, restored=False)
        log.error("VF %s of %s cannot be restored yet: %s", seen.pci, seen.owner, error)


def _count(daemon: Daemon, *, restored: bool) -> None:
    if daemon.meter is not None:
        daemon.meter.repaired(restored=restored)


def _end(daemon: Daemon, seen: ledger.Record) -> bool:
    record = daemon.book.read(seen.pci)
    if record is None or record.owner != seen.owner or not _is_over(daemon, record):
        return False
    daemon.detach(record, None)
    return True


def _is_over(daemon: Daemon, record: ledger.Record) -> bool:
    """Its netdev is at home, or, since a VF without a netdev does not move, its owner's namespace is destroyed."""
    if record.home is not None and daemon.node.tree.netdev(record.pci) is not None:
        return True
    return daemon.has_ended(record)
