"""Repair: VFs whose owner is gone without a DEL are found and restored, at the daemon's start and periodically."""

import asyncio
import functools
from collections.abc import Iterable

from sriov import devices, errors
from sriov.attachment import cleaning, detach, rebound
from sriov.daemon import logs
from sriov.hardware import inventory
from sriov.state import ledger
from sriov_cni.commands import rdma_numbering
from sriov_cni.context.calls import Daemon, Translation, log

INTERVAL = 10.0  # seconds
_TELLING = 5.0  # seconds between two reports of the background tasks' problems
_AT_ONCE = 16  # half of the daemon's threads: calls have the others, even if many VFs cannot be restored


async def keep_repairing(daemon: Daemon, interval: float = INTERVAL) -> None:
    """Repair at once and every `interval` seconds, until cancelled. Addresses stay leased until their DEL comes."""
    work = daemon.tasks
    async with asyncio.TaskGroup() as group:
        group.create_task(work.keep("noting the VFs' own addresses", functools.partial(get_to_know, daemon)))
        patiently = functools.partial(repair, daemon, only_due=True, at_once=_AT_ONCE)
        group.create_task(work.every(interval, "repair", patiently))
        if daemon.policies is not None:
            from sriov_cni.commands.membership import policy_rounds  # noqa: PLC0415

            group.create_task(policy_rounds.keep(daemon))
        if daemon.troubles is not None:
            group.create_task(work.every(_TELLING, "reporting problems", functools.partial(_tell, daemon)))


async def _tell(daemon: Daemon) -> None:
    if daemon.translation is not None:
        await asyncio.to_thread(daemon.translation.prove)
    if daemon.troubles is not None:
        daemon.troubles.tell(daemon.problems())


async def get_to_know(daemon: Daemon) -> None:
    """Note the own address of each free VF, before anybody can give it another. Once, at the start."""
    found = await asyncio.to_thread(inventory.scan, daemon.node.tree)
    for pci in found.vfs:
        try:
            async with daemon.vf_locks.of(pci) as held:
                await held.run(_note, daemon, pci)
        except errors.SriovError as error:
            log.error("the address of VF %s is not noted yet: %s", pci, error)


def _note(daemon: Daemon, pci: devices.PciAddress) -> None:
    netdev = daemon.node.tree.netdev(pci)
    if netdev is not None and daemon.record_of(pci) is None:
        with daemon.node.kernel() as net:
            daemon.book.identities.settle(
                daemon.node.tree, pci, netdev, functools.partial(cleaning.first_look, net, netdev.index)
            )


async def repair(daemon: Daemon, *, only_due: bool = False, at_once: int = 1) -> None:
    """Finish the detach of every VF that has a record and no living owner, `at_once` of them at a time.

    With `only_due`, VFs whose repair has failed wait for their turn. Raises LedgerError.
    """
    left, changed = await asyncio.to_thread(_look, daemon)
    for record in changed:
        await _keep_back(daemon, record)
    stuck = daemon.stuck
    stuck.only(left)
    now = asyncio.get_running_loop().time()
    due = [record for record in left if not only_due or stuck.is_due(record, now)]
    await _finish_all(daemon, sorted(due, key=stuck.failures), asyncio.Semaphore(at_once))
    await _settle(daemon)


def _look(daemon: Daemon) -> tuple[list[ledger.Record], list[ledger.Record]]:
    """Return records without a living owner, and records of VFs whose driver has changed since the ADD.

    The whole ledger is read here: in a thread, since that may take some time.
    """
    over: dict[bool, list[ledger.Record]] = {True: [], False: []}
    # Before the ledger: an ADD writes its record first.
    admitted = set() if daemon.translation is None else daemon.translation.admitted()
    records = list(daemon.book.records())
    for record in records:
        over[_seems_over(daemon, record)].append(record)
    if any(record.host_link is not None for record in records):
        from sriov_cni.commands.membership import host_link_requests  # noqa: PLC0415  # a node without any pays nothing

        try:
            host_link_requests.keep_rules(daemon, records)
        except errors.SriovError as error:
            log.error("the node's rules for host links are not as they should be: %s", error)
    if daemon.translation is not None:
        _settle_services(daemon.translation, daemon.book, admitted, records)
    return over[True], [each for each in over[False] if rebound.problem(daemon.node.tree, each) is not None]


def _settle_services(
    translation: Translation, book: ledger.Ledger, admitted: set[int], records: Iterable[ledger.Record]
) -> None:
    """Namespaces without a record reach Services no more: a DEL leaves that to this, and does not look for other
    records. Those with one do, whoever has removed them."""
    over = admitted - _cookies(records)
    try:
        translation.dismiss(over)
        # Meanwhile an ADD may have come to a namespace that was about to be forgotten: its record is there by now.
        for cookie in _cookies(book.records() if over else records) - (admitted - over):
            translation.admit(cookie)
    except errors.SriovError as error:
        log.error("which pods reach Services is not as the ledger has it: %s", error)


def _cookies(records: Iterable[ledger.Record]) -> set[int]:
    return {record.cookie for record in records if record.cookie}


def _seems_over(daemon: Daemon, record: ledger.Record) -> bool:
    """Report whether it is over; if that cannot be found out, True: the repair then reports it for this VF alone."""
    try:
        return _is_over(daemon, record)
    except (errors.SriovError, OSError):
        return True


async def _settle(daemon: Daemon) -> None:
    try:
        await rdma_numbering.settle(daemon)
    except errors.SriovError as error:
        log.error("RDMA device nodes may change on the way into a pod: %s", error)


async def _keep_back(daemon: Daemon, seen: ledger.Record) -> None:
    """Record the changed driver for the device plugin: a VF without netdev does not show that its owner has died."""
    try:
        async with daemon.vf_locks.of(seen.pci) as held:
            record = daemon.book.read(seen.pci)
            if record is not None and record.owner == seen.owner:
                await held.run(detach.keep_back, daemon.node, daemon.book, record)
    except errors.SriovError as error:
        log.error("VF %s of %s cannot be kept from other pods: %s", seen.pci, seen.owner, error)


async def _finish_all(daemon: Daemon, records: Iterable[ledger.Record], limit: asyncio.Semaphore) -> None:
    """Repair the records, those first that were never tried. All have ended when this returns or raises."""
    working = (_finish(daemon, record, limit) for record in records)
    for failure in await asyncio.gather(*working, return_exceptions=True):
        if failure is not None:
            raise failure


async def _finish(daemon: Daemon, seen: ledger.Record, limit: asyncio.Semaphore) -> None:
    """Repair one VF. An ADD in progress has a record before its VF has moved, but also holds the lock."""
    with logs.within(**seen.owner.facts, vf=seen.pci):
        try:
            await _finish_one(daemon, seen, limit)
        except (errors.UncleanError, errors.DriverError) as error:
            _failed(daemon, seen, str(error), kept_back=True)
            log.error("VF %s of %s is kept from other pods: %s", seen.pci, seen.owner, error)
        except errors.SriovError as error:
            _failed(daemon, seen, str(error))
            log.error("VF %s of %s cannot be restored yet: %s", seen.pci, seen.owner, error)
        except Exception as error:  # whatever fails with one VF, the others are restored
            _failed(daemon, seen, f"{type(error).__name__}: {error}")
            log.exception("VF %s of %s cannot be restored yet", seen.pci, seen.owner)


async def _finish_one(daemon: Daemon, seen: ledger.Record, limit: asyncio.Semaphore) -> None:
    async with limit, daemon.vf_locks.of(seen.pci) as held:
        ended = await held.run(_end, daemon, seen)
    if ended:
        _count(daemon, restored=True)
        log.warning("VF %s was left without a DEL of %s: restored", seen.pci, seen.owner)
    daemon.stuck.forget(seen)


def _failed(daemon: Daemon, seen: ledger.Record, problem: str, *, kept_back: bool = False) -> None:
    _count(daemon, restored=False)
    daemon.stuck.failed(seen, problem, asyncio.get_running_loop().time(), kept_back=kept_back)


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
    """Report whether its netdev is in the host, or, since a VF without one stays, its owner's namespace is gone."""
    if record.home is not None and daemon.node.tree.netdev(record.pci) is not None:
        return True
    return daemon.has_ended(record)
