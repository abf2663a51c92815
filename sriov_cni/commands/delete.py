"""DEL and GC: attachments end. The VF and its address are both given back, even if one of the two fails."""

import asyncio
from collections.abc import Callable, Container

from sriov import devices, errors
from sriov.daemon import logs
from sriov.linux import netns
from sriov.state import ledger
from sriov_cni.context import calls, ipam
from sriov_cni.context.calls import Call, Daemon, log
from sriov_cni.spec import cni_errors, netconf
from sriov_cni.spec.cni_errors import Code


async def delete(daemon: Daemon, call: Call) -> bytes:
    """Run the CNI command DEL: succeeds if there is nothing to do, touches only what the call owns."""
    network = netconf.existing(call.document)
    held, problem = await calls.with_ipam(
        daemon, network, call.hand_to_ipam(network), give_back(daemon, call, network.device)
    )
    if problem is not None:
        if held or not (call.invocation.args.problem or netconf.refuses(call.document)):
            raise problem
        # host-local also refuses at DEL what ADD refuses here. So no address was given, and the pod is to end. The
        # plugin's message may quote a secret, so it is not logged.
        log.info("IPAM plugin %r failed, which is ignored: no ADD accepts this call", network.ipam)
    return b""


async def give_up(daemon: Daemon, call: Call) -> None:
    """Take an attachment back that no runtime will learn of. What fails is for its DEL to do."""
    try:
        await take_back(daemon, call)
    except (errors.SriovError, cni_errors.CniError) as error:
        log.error("%s could not be taken back, its DEL will do that: %s", call.invocation.container_id, error)


async def take_back(daemon: Daemon, call: Call) -> None:
    """Undo an ADD whose answer nobody read. Raises what the VF's detach raises, and the IPAM plugin's DEL.

    If the attachment has been ended meanwhile there is nothing to undo, or another ADD's attachment, which stays.
    """
    network = netconf.network(call.document)
    if not ipam.needs_link(network.ipam):
        if await give_back(daemon, call, None, lambda: _is_unheard(daemon, call)):
            await call.release_address(network)
    elif _is_unheard(daemon, call):
        giving = give_back(daemon, call, None, lambda: _is_unheard(daemon, call))
        _, problem = await calls.with_ipam(daemon, network, call.release_address(network), giving)
        if problem is not None:
            raise problem


def _is_unheard(daemon: Daemon, call: Call) -> bool:
    return daemon.fresh.holds(call.key, call)


async def give_back(
    daemon: Daemon, call: Call, device: devices.PciAddress | None, wanted: Callable[[], bool] = lambda: True
) -> bool:
    """Detach the call's VF; returns whether it had one. `device` is tried first; `wanted` is called under the lock."""
    record = await _found(daemon, call, device)
    if record is None:
        return False
    logs.about(vf=record.pci)
    async with daemon.vf_locks.of(record.pci) as held:
        # Another call may have been quicker, and the VF may have another owner by now.
        return wanted() and await held.run(_detach, daemon, call, record.pci)


async def _found(daemon: Daemon, call: Call, device: devices.PciAddress | None) -> ledger.Record | None:
    """Return the call's record, or else the device's. All records are read only if the device's is not the call's."""
    record = daemon.book.read(device) if device else None
    if call.owns(record):
        return record
    return await asyncio.to_thread(calls.find, daemon, call, None) or record


def _detach(daemon: Daemon, call: Call, pci: devices.PciAddress) -> bool:
    record = daemon.record_of(pci)
    if record is None or not (call.owns(record) or call.has_inside(daemon.node, record)):
        return False
    _take_back(daemon, record, call.pod)
    return True


def _take_back(daemon: Daemon, record: ledger.Record, pod: netns.Netns | None) -> None:
    """Detach. A VF that cannot be made clean, or has another driver now, keeps its record, and no pod gets it.

    The pod ends all the same.
    """
    try:
        daemon.detach(record, pod)
    except (errors.UncleanError, errors.DriverError) as error:
        log.error("VF %s of %s is kept from other pods: %s", record.pci, record.owner, error)


async def collect(daemon: Daemon, call: Call) -> bytes:
    """Run the CNI command GC: ends every attachment of this network that is not on the runtime's list."""
    network = netconf.existing(call.document)
    netconf.needs_version(network, "GC", "1.1.0")
    netconf.needs_name(network)
    valid = netconf.valid_attachments(call.document)
    problems, refusal = await calls.with_ipam(
        daemon, network, call.hand_to_ipam(network), _end_all(daemon, network, valid)
    )
    if refusal is not None:
        if not problems or not isinstance(refusal, cni_errors.CniError):
            raise refusal
        problems.append(refusal.message)
    if problems:
        raise cni_errors.CniError(Code.KERNEL, f"GC of network {network.name!r} is not complete", "; ".join(problems))
    return b""


async def _end_all(daemon: Daemon, network: netconf.Network, valid: Container[tuple[str, str]]) -> list[str]:
    """End every such attachment; returns those that could not be ended, and why."""
    problems = []
    for record in await asyncio.to_thread(lambda: list(daemon.book.records())):
        owner = record.owner
        if owner.network == network.name and (owner.container_id, owner.within or owner.ifname) not in valid:
            try:
                await _end(daemon, record)
            except errors.SriovError as error:
                problems.append(f"{record.pci}: {error}")
    return problems


async def _end(daemon: Daemon, stale: ledger.Record) -> None:
    with logs.within(**stale.owner.facts, vf=stale.pci):
        await _end_one(daemon, stale)


async def _end_one(daemon: Daemon, stale: ledger.Record) -> None:
    async with daemon.vf_locks.of(stale.pci) as held:
        record = daemon.book.read(stale.pci)
        if record is None or record.owner != stale.owner:
            return
        await held.run(_take_back, daemon, record, None)
