"""Parts of a call: one call for each device of the pod's claims, as if the runtime had made it for that device alone.

A part has the runtime's configuration with the device's own address and `ipam`. Its IPAM plugin runs with its interface
in CNI_IFNAME and with its configuration as stdin, except for the interface that the runtime has named itself. Beside
that one, routes of the runtime's `ipam` are not those of the further ones: the pod's default route would be the last's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sriov.state import claim_attachments
from sriov_cni.context import calls
from sriov_cni.shim import wire
from sriov_cni.spec import environment, netconf

_ANY = msgspec.json.Decoder(Any)
_NOT_THEIRS = ("claims", "deviceID", "resourceName")
_OF_THE_FIRST = ("runtimeConfig", "args")
"""What the runtime says of the interface that it names, as its MAC and addresses, and of no other."""
_OF_ONE = ("services", "hostLink", "viaHost", "hostLinkUdp", "hostLinkAddresses")
"""What makes the pod a member of its cluster, once: of the interface that the runtime names, or else the first."""
_NO_MEMBER = {"services": msgspec.Raw(b'"off"'), "hostLink": msgspec.Raw(b"false")}
"""What the others say, so that neither a claim nor the node's defaults give it to them."""


def of(call: calls.Call, whole: claim_attachments.ClaimAttachment) -> list[calls.Call]:
    """Return a part for each device, in order; each has the call's own command."""
    return [_part(call, each, whole, call.invocation, {}) for each in whole.devices]


def ending(call: calls.Call, whole: claim_attachments.ClaimAttachment) -> list[calls.Call]:
    """Return a DEL for each device, the last first. The call may be a GC, which names no container itself."""
    if call.invocation.command is environment.Command.DEL:
        return of(call, whole)[::-1]
    run_for = environment.Invocation(
        environment.Command.DEL, container_id=whole.container_id, ifname=whole.ifname, path=call.invocation.path
    )
    variables = {"CNI_CONTAINERID": whole.container_id, "CNI_NETNS": "", "CNI_ARGS": ""}
    return [_part(call, each, whole, run_for, variables) for each in reversed(whole.devices)]


def _part(
    call: calls.Call,
    device: claim_attachments.ClaimedDevice,
    whole: claim_attachments.ClaimAttachment,
    run_for: environment.Invocation,
    variables: Mapping[str, str],
) -> calls.Call:
    is_first, further = device.ifname == whole.ifname, device is not _main(whole)
    ipam = _ipam(call, device, whole)
    left_out = {*_NOT_THEIRS, *(() if is_first else _OF_THE_FIRST), *(_OF_ONE if further else ())}
    values = {key: value for key, value in call.document.values.items() if key not in left_out}
    if ipam is not None:
        values["ipam"] = _encoded(ipam)
    own = {"deviceID": _encoded(device.id), **(_NO_MEMBER if further else {})}
    if run_for.command is environment.Command.CHECK and device.ipam is None and ipam is not call.document.ipam:
        own["prevResult"] = _without_routes(values)
    document = msgspec.structs.replace(
        call.document, values={**values, **own}, device_id=device.id, ipam=ipam, claims=None
    )
    args = run_for.args if is_first else msgspec.structs.replace(run_for.args, mac="")
    invocation = msgspec.structs.replace(run_for, ifname=device.ifname, within=whole.ifname, further=further, args=args)
    as_it_came = is_first and device.ipam is None and not variables
    run = call.run_ipam if as_it_came else _runner(call, {**variables, "CNI_IFNAME": device.ifname}, values, device)
    return calls.Call(invocation, document, call.pod, run)


def _main(whole: claim_attachments.ClaimAttachment) -> claim_attachments.ClaimedDevice:
    return next((each for each in whole.devices if each.ifname == whole.ifname), whole.devices[0])


def _encoded(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _ipam(call: calls.Call, device: claim_attachments.ClaimedDevice, whole: claim_attachments.ClaimAttachment) -> Any:
    """Return the device's own section, or the call's; beside the interface that the call names, without its routes."""
    ipam = call.document.ipam
    if device.ipam is not None:
        return device.ipam
    is_beside = device.ifname != whole.ifname and any(each.ifname == whole.ifname for each in whole.devices)
    if not is_beside or not isinstance(ipam, dict) or "routes" not in ipam:
        return ipam
    return {key: value for key, value in ipam.items() if key != "routes"}


def _without_routes(values: Mapping[str, msgspec.Raw]) -> msgspec.Raw:
    """Return prevResult, whose routes name no interface, so that CHECK does not look for another's on this one."""
    found = netconf.value("prevResult", values["prevResult"], _ANY)
    return _encoded({**found, "routes": []} if isinstance(found, dict) else found)


def _runner(
    call: calls.Call,
    variables: Mapping[str, str],
    values: Mapping[str, msgspec.Raw],
    device: claim_attachments.ClaimedDevice,
) -> calls.RunIpam:
    """Run the device's IPAM plugin; its leases are those of the network that its `ipam` is from."""
    name = {"name": _encoded(device.network)} if device.network else {}
    own = wire.OwnCall(variables, msgspec.json.encode({**values, **name}))
    return as_another(call, own)


def as_another(call: calls.Call, own: wire.OwnCall) -> calls.RunIpam:
    """Return what runs plugins with other variables or stdin than the runtime's."""

    async def run(command: str, plugin: str) -> wire.Outcome:
        assert call.run_ipam_as is not None
        return await call.run_ipam_as(command, plugin, own)

    return run


def with_all_interfaces(call: calls.Call, live: Sequence[claim_attachments.ClaimAttachment]) -> calls.Call:
    """Return a GC whose IPAM plugin is told of every interface that has an address, and not of the runtime's alone."""
    further = [(each.container_id, device.ifname) for each in live for device in each.devices]
    known = sorted({*netconf.valid_attachments(call.document), *further})
    if not further:
        return call
    listed = _encoded([{"containerID": each, "ifname": name} for each, name in known])
    values = {**call.document.values, "cni.dev/valid-attachments": listed}
    if "cni.dev/attachments" in values:
        values["cni.dev/attachments"] = listed
    own = wire.OwnCall({}, msgspec.json.encode(values))
    return msgspec.structs.replace(call, run_ipam=as_another(call, own))
