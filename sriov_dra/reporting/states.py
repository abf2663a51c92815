"""States of a claim's devices, as the API server is to have them. Pure.

A device is in the status once it has been in its pod: `Ready` with its interface, and afterwards why it is not. Facts:
resource.k8s.io/v1 AllocatedDeviceStatus and NetworkDeviceData (types.go): at most 16 addresses, each as an address with
its prefix in its usual form, and no address twice.
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping

import msgspec

from sriov.state import attached_vfs, grants
from sriov_dra.claims import claim_objects

READY = "Ready"
_MOST_ADDRESSES = 16
_TRUE, _FALSE = "True", "False"

Key = tuple[str, str, str]
"""Pool, device and share: what a driver's entries are told apart by."""
Known = Mapping[Key, claim_objects.DeviceState]


class SeenVf(msgspec.Struct, frozen=True):
    """A VF that is in its pod, or whose `problem` is why it could not be taken back."""

    attached: attached_vfs.AttachedVf
    problem: str = ""


Seen = Callable[[str], SeenVf | None]
"""Looks at a VF: None while the ADD has not ended, and once the DEL has."""


def key(state: claim_objects.DeviceState) -> Key:
    return state.pool, state.device, state.share_id or ""


def of_driver(driver: str, states: Iterable[claim_objects.DeviceState]) -> Known:
    return {key(each): each for each in states if each.driver == driver}


def wanted(driver: str, grant: grants.ClaimGrant, known: Known, seen: Seen, now: str) -> Known:
    """Return the claim's entries. What has changed since `known` has the time `now`; the rest is as it was."""
    found = {}
    for device in grant.devices:
        where = (device.pool, device.name, device.share)
        state = _state(driver, device, seen(device.id), was_there=where in known)
        if state is not None:
            found[where] = _dated(state, known.get(where), now)
    return found


def is_halfway(grant: grants.ClaimGrant, wanted: Known) -> bool:
    """Report whether some of the claim's devices are in its pod and others are not."""
    ready = sum(one.status == _TRUE for each in wanted.values() for one in each.conditions)
    return 0 < ready < len(grant.devices)


def _state(
    driver: str, device: grants.GrantedDevice, seen: SeenVf | None, *, was_there: bool
) -> claim_objects.DeviceState | None:
    if seen is None:
        return (
            _entry(driver, device, _condition(_FALSE, "Detached", "the pod has the VF no more")) if was_there else None
        )
    if seen.problem:
        return _entry(driver, device, _condition(_FALSE, "NotHome", f"the VF could not be taken back: {seen.problem}"))
    vf = seen.attached
    condition = _condition(_TRUE, "Attached", f"VF {vf.pci} is in the pod as {vf.ifname}")
    return _entry(driver, device, condition, _network(vf))


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
