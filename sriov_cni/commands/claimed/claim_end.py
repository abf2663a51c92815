"""DEL and GC of all devices of a pod's claims. Each one that can be brought home is, whatever becomes of the others."""

import asyncio
from collections.abc import Iterable

from sriov import errors
from sriov.state import claim_attachments, ledger
from sriov_cni.commands import delete as ending
from sriov_cni.commands.claimed import known_claims, parts
from sriov_cni.context.calls import Call, Daemon
from sriov_cni.spec import cni_errors, environment, netconf, result
from sriov_cni.spec.claim_modes import ClaimsMode
from sriov_cni.spec.cni_errors import Code

Problem = errors.SriovError | cni_errors.CniError


async def delete(daemon: Daemon, call: Call) -> bytes:
    """Run the CNI command DEL. Nothing is asked but what was written down at the ADD: a grant may be gone."""
    whole = known_claims.of(daemon).calls.read(*call.key)
    if whole is None:
        records = await asyncio.to_thread(_records, daemon, call)
        if any(not each.owner.within for each in records):
            return await ending.delete(daemon, call)  # attached when the configuration had no `claims`
        whole = _remembered(call, records)
    problems = await _end_all(daemon, call, whole)
    if problems:
        raise problems[0]
    return b""


async def _end_all(daemon: Daemon, call: Call, whole: claim_attachments.ClaimAttachment) -> list[Problem]:
    """End each device's attachment, and forget the whole when nothing is left of it."""
    problems: list[Problem] = []
    for each in parts.ending(call, whole):
        call.parts.append(each)
        try:
            await ending.delete(daemon, each)
        except (errors.SriovError, cni_errors.CniError) as error:
            problems.append(error)
    if not problems:
        known_claims.of(daemon).calls.remove(whole.container_id, whole.ifname)
    return problems


def _records(daemon: Daemon, call: Call) -> list[ledger.Record]:
    """Return what the call's attachment has in the ledger, or in that of sriov-cni. Blocks."""
    found = [
        each
        for each in daemon.book.records()
        if (each.owner.container_id, each.owner.within or each.owner.ifname) == call.key
    ]
    before = daemon.upstream.find(*call.key) if daemon.upstream is not None and not found else None
    return found if before is None else [before]


def _remembered(call: Call, records: Iterable[ledger.Record]) -> claim_attachments.ClaimAttachment:
    """Return what else tells of the attachment: records, and prevResult, for the addresses that are leased yet.

    After a reboot there is prevResult alone. The interface that the runtime names is another plugin's in a chain.
    """
    devices = {each.owner.ifname: each.pci for each in records}
    is_alone = call.document.claims == ClaimsMode.ALONE
    names = [call.invocation.ifname] if is_alone else []
    names += [each for each in _named_before(call) if each != call.invocation.ifname]
    return claim_attachments.ClaimAttachment(
        container_id=call.invocation.container_id,
        ifname=call.invocation.ifname,
        network="",
        devices=tuple(
            claim_attachments.ClaimedDevice(devices.get(name, ""), name) for name in dict.fromkeys([*devices, *names])
        ),
    )


def _named_before(call: Call) -> list[str]:
    """Return the pod's interfaces in prevResult; DEL succeeds whatever that is (CNI spec 1.1, DEL)."""
    try:
        found = result.previous(netconf.existing(call.document).prev_result).result
    except cni_errors.CniError:
        return []
    return [each.name for each in found.interfaces if each.sandbox and environment.ifname_problem(each.name) is None]


async def collect(daemon: Daemon, call: Call) -> bytes:
    """Run the CNI command GC: the attachments of claims, then all others; the IPAM plugin is told what is left."""
    network = netconf.existing(call.document)
    netconf.needs_version(network, "GC", "1.1.0")
    netconf.needs_name(network)
    valid = netconf.valid_attachments(call.document)
    ours = [each for each in known_claims.of(daemon).calls.all() if each.network == network.name]
    live = [each for each in ours if (each.container_id, each.ifname) in valid]
    problems: list[Problem] = []
    for each in ours:
        if each not in live:
            problems += await _end_all(daemon, call, each)
    await ending.collect(daemon, parts.with_all_interfaces(call, live))
    if problems:
        told = "; ".join(map(str, problems))
        raise cni_errors.CniError(Code.KERNEL, f"GC of network {network.name!r} is not complete", told)
    return b""
