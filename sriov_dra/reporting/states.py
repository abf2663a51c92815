"""States of a claim's devices, as the API server is to have them. Pure.

A device is in the status once it has been in its pod: `Ready` with its interface, and afterwards why it is not. Facts:
resource.k8s.io/v1 AllocatedDeviceStatus and NetworkDeviceData (types.go): at most 16 addresses, each as an address with
its prefix in its usual form, and no address twice.
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping

from sriov.state import attached_vfs, grants, ledger
from sriov_dra.claims import claim_objects

READY = "Ready"
_MOST_ADDRESSES = 16
_TRUE, _FALSE = "True", "False"

Key = tuple[str, str, str]
"""Pool, device and share: what a driver's entries are told apart by."""
Known = Mapping[Key, claim_objects.DeviceState]
Seen = Callable[[str], tuple[ledger.Record | None, attached_vfs.AttachedVf | None]]
"""Reads the record of a VF, and what its pod has, if the ADD has ended."""


def key(state: claim_objects.DeviceState) -> Key:
    return state.pool, state.device, state.share_id or ""


def of_driver(driver: str, states: Iterable[claim_objects.DeviceState]) -> Known:
    return {key(each): each for each in states if each.driver == driver}


def wanted(driver: str, grant: grants.ClaimGrant, known: Known, seen: Seen, now: str) -> Known:
    """Return the claim's entries. What has changed since `known` has the time `now`; the rest is as it was."""
    found = {}
    for device in grant.devices:
        where = (device.pool, device.name, device.share)
        state = _state(driver, device, *seen(device.id), was_there=where in known)
        if state is not None:
            found[where] = _dated(state, known.get(where), now)
    return found


def _state(
    driver: str,
    device: grants.GrantedDevice,
    record: ledger.Record | None,
    attached: attached_vfs.AttachedVf | None,
    *,
    was_there: bool,
) -> claim_objects.DeviceState | None:
    if record is not None and record.problem:
        condition = _condition(_FALSE, "NotHome", f"the VF could not be taken back: {record.problem}")
        return _entry(driver, device, condition)
    if attached is not None:
        condition = _condition(_TRUE, "Attached", f"VF {attached.pci} is in the pod as {attached.ifname}")
        return _entry(driver, device, condition, _network(attached))
    return _entry(driver, device, _condition(_FALSE, "Detached", "the VF is in no pod")) if was_there else None


def _entry(
    driver: str,
    device: grants.GrantedDevice,
    condition: claim_objects.DeviceCondition,
    network: claim_objects.NetworkData | None = None,
) -> claim_objects.DeviceState:
    share = device.share or None
    return claim_objects.DeviceState(driver, device.pool, device.name, share, (condition,), network)


def _condition(status: str, reason: str, message: str) -> claim_objects.DeviceCondition:
    return claim_objects.DeviceCondition(READY, status, reason, message)


def _network(attached: attached_vfs.AttachedVf) -> claim_objects.NetworkData:
    addresses = dict.fromkeys(ipaddress.ip_interface(each).with_prefixlen for each in attached.addresses)
    return claim_objects.NetworkData(attached.ifname, tuple(addresses)[:_MOST_ADDRESSES], attached.mac)


def _dated(
    state: claim_objects.DeviceState, before: claim_objects.DeviceState | None, now: str
) -> claim_objects.DeviceState:
    """Give the condition its time: that of `before` while its status is the same."""
    [condition] = state.conditions
    old = next((each for each in before.conditions if each.type == READY), None) if before else None
    since = old.last_transition_time if old is not None and old.status == condition.status else now
    dated = claim_objects.DeviceCondition(condition.type, condition.status, condition.reason, condition.message, since)
    return claim_objects.DeviceState(
        state.driver, state.pool, state.device, state.share_id, (dated,), state.network_data
    )
