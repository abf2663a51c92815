"""ADD of all devices of a pod's claims: all of them or none. A pod without a claim gets what it had before."""

import contextlib
from collections.abc import Sequence

from sriov import errors, timing
from sriov.attachment import netdevs
from sriov.linux import netns
from sriov.state import claim_attachments
from sriov_cni.commands import add as adding
from sriov_cni.commands import delete
from sriov_cni.commands.claimed import interface_names, known_claims, parts, shared_claims
from sriov_cni.context import claims, steps
from sriov_cni.context.calls import Call, Daemon
from sriov_cni.spec import claim_modes, environment, netconf, result
from sriov_cni.spec.claim_modes import ClaimsMode


async def add(daemon: Daemon, call: Call) -> bytes:
    """Run the CNI command ADD. Everything that can be refused is refused before anything is changed."""
    with timing.timed(steps.CallStep.VALIDATE):
        network = netconf.network(call.document)
        before = result.previous(network.prev_result, netconf.VERSIONS)
        mode = claim_modes.read(call.document, has_previous=network.prev_result is not None)
        environment.refuse_invalid(call.invocation.args)
        granted = known_claims.of(daemon).of_pod(call.invocation.args)
        await shared_claims.refuse(daemon, call.invocation.args)
        if not granted:
            return _passed_through(call, network, before, mode)
        whole = _whole(call, network, granted, mode)
        checked = [await adding.check(daemon, each) for each in parts.of(call, whole)]
        _refuse_taken(daemon, call.needs_pod(daemon.node.home), whole, before.result)
    made = await _attach_all(daemon, call, whole, checked)
    adding.warn(call, network)
    return result.encode(_merged(before.result, checked, made), network.version, before.document)


def _passed_through(call: Call, network: netconf.Network, before: result.Previous, mode: ClaimsMode) -> bytes:
    """Return prevResult, to the byte if it says the call's version. Alone, there is nothing that could be the pod's."""
    args = call.invocation.args
    if mode is ClaimsMode.ALONE:
        raise errors.BusyError(
            f"pod {args.namespace}/{args.pod} (UID {args.uid or 'unknown'}) has no claim that is prepared on this node,"
            " and this is its only network",
            "give it a ResourceClaim of the driver sriov-underlay, of its own and not another pod's, or hostNetwork",
        )
    if before.document.get("cniVersion") == network.version:
        assert network.prev_result is not None
        return network.prev_result + b"\n"
    return result.encode(before.result, network.version, before.document)


def _whole(
    call: Call, network: netconf.Network, granted: Sequence[claims.GrantedVf], mode: ClaimsMode
) -> claim_attachments.ClaimAttachment:
    names = interface_names.choose(granted, call.invocation.ifname, mode)
    return claim_attachments.ClaimAttachment(
        container_id=call.invocation.container_id,
        ifname=call.invocation.ifname,
        network=network.name,
        devices=tuple(
            claim_attachments.ClaimedDevice(
                each.device.id, name, each.device.ipam, each.device.node_network if each.device.ipam else ""
            )
            for name, each in zip(names, granted, strict=True)
        ),
    )


def _refuse_taken(
    daemon: Daemon, pod: netns.Netns, whole: claim_attachments.ClaimAttachment, before: result.Result
) -> None:
    """Refuse names that the pod has already, of any device, before the first is moved."""
    names = [each.ifname for each in whole.devices]
    interface_names.refuse_taken(
        names, {each.name for each in before.interfaces if each.sandbox}, "it is in prevResult"
    )
    with daemon.node.kernel() as net, net.inside(pod) as inner:
        there = {name for name in names if netdevs.if_there(inner, name) is not None}
    interface_names.refuse_taken(names, there, "another plugin has made it, or an ADD before this one")


async def _attach_all(
    daemon: Daemon, call: Call, whole: claim_attachments.ClaimAttachment, checked: Sequence[adding.CheckedAdd]
) -> list[adding.AddedVf]:
    """Attach one after the other; if one fails, the former ones are taken back, the last first."""
    attached = known_claims.of(daemon).calls
    attached.write(whole)
    async with contextlib.AsyncExitStack() as undo:
        made = []
        for each in checked:
            made.append(await adding.attach(daemon, each))
            call.parts.append(each.call)
            undo.push_async_callback(delete.give_up, daemon, each.call)
        if attached.read(*call.key) != whole or not all(daemon.fresh.holds(each.key, each) for each in call.parts):
            raise errors.BusyError("the attachment was ended while it was being made", "the runtime tries again")
        undo.pop_all()
    return made


def _merged(
    before: result.Result, checked: Sequence[adding.CheckedAdd], made: Sequence[adding.AddedVf]
) -> result.Result:
    """Return prevResult with all interfaces, and each one's addresses. Of several DNS the first counts."""
    named = [checked[0].wanted.dns, *(each.leased.dns for each in made)]
    dns = next((each for each in named if each != result.Dns()), result.Dns())
    merged = before
    for each in made:
        merged = result.merge(merged, each.interfaces, each.leased, dns)
    return merged
