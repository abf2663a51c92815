"""Reading of a claim: the devices of ours that it was given, each with the parameters that count for it. Pure.

Parameters of the class come first, then the claim's, and later ones win, key by key. Without `requests` they are for
every request; a request's name covers its subrequests; other drivers' are passed over (resource.k8s.io/v1,
DeviceAllocationConfiguration and DeviceRequestAllocationResult).
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from sriov import errors
from sriov_dra.claims import claim_objects

API_VERSION, KIND = "sriov-underlay/v1", "VfNetwork"
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # what the API takes as a request's name
_CLAIM = "FromClaim"
_SOURCES = ("FromClass", _CLAIM)
_UNATTACHED = "unattached"


class ClaimError(errors.SriovError):
    """The claim cannot be prepared as it is."""


class GivenDevice(msgspec.Struct, frozen=True):
    """A device of the claim. `request` is the main request's name, `full_request` has the subrequest too.

    `parameters` are the keys of a VfNetwork, merged; empty if nobody has given any.
    """

    request: str
    full_request: str
    pool: str
    device: str
    share: str | None = None
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


def devices(claim: claim_objects.ClaimObject, driver: str) -> tuple[GivenDevice, ...]:
    """Return the driver's devices in the allocation's order. Raises ClaimError."""
    allocation = claim.status.allocation
    if allocation is None:
        raise ClaimError("the claim is not allocated", "the scheduler allocates it; the kubelet tries again")
    return tuple(
        _given(allocation.devices, each, driver) for each in allocation.devices.results if each.driver == driver
    )


def _given(allocated: claim_objects.DeviceAllocation, one: claim_objects.DeviceResult, driver: str) -> GivenDevice:
    if one.admin_access:
        raise ClaimError(
            f"request {one.request!r} has adminAccess: a VF that a pod has cannot be in a second one",
            "leave adminAccess out",
        )
    if not LABEL.fullmatch(base(one.request)):
        raise ClaimError(f"request {one.request!r} is not a request's name", "give it lower case letters, digits and -")
    merged: dict[str, Any] = {}
    for parameters in _parameters(allocated, one.request, driver):
        merged |= parameters
    return GivenDevice(base(one.request), one.request, one.pool, one.device, one.share_id, merged)


def base(request: str) -> str:
    """Return the name of the request itself, without a subrequest."""
    return request.partition("/")[0]


def _parameters(allocated: claim_objects.DeviceAllocation, request: str, driver: str) -> Iterator[dict[str, Any]]:
    for source in _SOURCES:
        for number, each in enumerate(allocated.config):
            ours = each.opaque is not None and each.opaque.driver == driver and each.source == source
            if ours and (not each.requests or {request, base(request)} & set(each.requests)):
                assert each.opaque is not None
                found = _checked(f"{source} config[{number}]", each.opaque.parameters)
                _refuse_what_is_a_classs(source, found)
                yield found


def _refuse_what_is_a_classs(source: str, found: dict[str, Any]) -> None:
    """Without the hook a container may have a device that no policy of the node has judged: an operator says so."""
    if source == _CLAIM and _UNATTACHED in found:
        raise ClaimError(
            f"{_UNATTACHED} {found[_UNATTACHED]!r} is not the claim's to say", "have it in the config of a DeviceClass"
        )


def _checked(where: str, given: Any) -> dict[str, Any]:
    """Return the keys of a VfNetwork. Raises ClaimError for another kind."""
    if not isinstance(given, dict):
        raise ClaimError(f"{where}: opaque.parameters is no object", f"write one of kind {KIND}")
    for key, value in (("apiVersion", API_VERSION), ("kind", KIND)):
        if given.get(key) != value:
            raise ClaimError(f"{where}: opaque.parameters.{key} is {given.get(key)!r}", f'write "{value}"')
    return {key: value for key, value in given.items() if key not in ("apiVersion", "kind")}
