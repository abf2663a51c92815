"""Rules of kube-apiserver about the status of a ResourceClaim, and server-side apply as far as that has it. Pure.

Each rule names where it is from, in kubernetes/kubernetes; functions without a file are of
pkg/apis/resource/validation/validation.go, and `types.go` is staging/src/k8s.io/api/resource/v1/types.go.
"""

import ipaddress
import json
import re
from typing import Any

Json = dict[str, Any]
Path = tuple[Any, ...]
Owners = dict[str, set[Path]]
"""Fields of the status by their manager."""

_LISTS = {"devices": ("driver", "pool", "device", "shareID"), "conditions": ("type",)}
"""Lists that are merged by keys (types.go, +listMapKey); any other list is one value."""
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")  # apimachinery meta/v1/validation, ValidateCondition
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class ConflictError(Exception):
    """Another manager has the field with another value (apimachinery pkg/util/managedfields)."""


def applied(status: Json, told: Json, manager: str, owners: Owners, *, force: bool) -> Json:
    """Return the status with what the manager applies; changes `owners`. What it applied before and leaves out goes,
    unless somebody else has it, too (structured-merge-diff, merge/update.go, Apply)."""
    before, wanted = _leaves(status), _leaves(told)
    for other, fields in list(owners.items()):
        taken = (
            {path for path in fields & set(wanted) if before.get(path) != wanted[path]} if other != manager else set()
        )
        if taken and not force:
            raise ConflictError(f"conflict with {json.dumps(other)}: {sorted(map(str, taken))[0]}")
        owners[other] = fields - taken
    left_out = owners.get(manager, set()) - set(wanted)
    owners[manager] = set(wanted)
    held: set[Path] = set().union(*owners.values())
    return _built({path: value for path, value in before.items() if path in held or path not in left_out} | wanted)


def _leaves(told: Json, at: Path = ()) -> dict[Path, Any]:
    found: dict[Path, Any] = {}
    for name, value in told.items():
        if name in _LISTS and isinstance(value, list):
            for each in value:
                found |= _leaves(each, (*at, name, tuple(each.get(key) for key in _LISTS[name])))
        elif isinstance(value, dict) and name != "allocation":
            found |= _leaves(value, (*at, name))
        else:
            found[*at, name] = value
    return found


def _built(leaves: dict[Path, Any]) -> Json:
    found: Json = {}
    for path, value in leaves.items():
        at, rest = found, list(path)
        while len(rest) > 1:
            name = rest.pop(0)
            if name in _LISTS:
                entries, key = at.setdefault(name, {}), rest.pop(0)
                at = entries.setdefault(key, {})
            else:
                at = at.setdefault(name, {})
        at[rest[0]] = value
    return _listed(found)


def _listed(found: Json) -> Json:
    return {
        name: [_listed(each) for each in value.values()] if name in _LISTS and isinstance(value, dict)
        else _listed(value) if isinstance(value, dict) and name != "allocation" else value
        for name, value in found.items()
    }  # fmt: skip


def refusals(status: Json, old: Json, driver: str) -> list[str]:
    """Return what the API server refuses about the driver's write of a status in the place of `old`.

    From 1.36 on allocation and reservedFor are the scheduler's alone, and entries of another driver that driver's
    (pkg/registry/resource/utils.go, AuthorizedForBinding and AuthorizedForDeviceStatus).
    """
    found = [
        f"changing status.{key} requires resourceclaims/binding"
        for key in ("allocation", "reservedFor")
        if status.get(key) != old.get(key)
    ]
    if _others(status, driver) != _others(old, driver):
        found.append("changing status.devices of another driver requires resourceclaims/driver")
    results = ((status.get("allocation") or {}).get("devices") or {}).get("results", [])
    allocated = {_device(each) for each in results}
    return found + [problem for each in status.get("devices", []) for problem in _state(each, allocated)]


def _others(status: Json, driver: str) -> list[Json]:
    return [each for each in status.get("devices", []) if each["driver"] != driver]


def _device(told: Json) -> tuple[Any, ...]:
    return tuple(told.get(key) for key in _LISTS["devices"])


def _state(told: Json, allocated: set[tuple[Any, ...]]) -> list[str]:
    """validateDeviceStatus: allocated, at most 8 conditions and 10 KiB of data (types.go)."""
    where, conditions = f"status.devices[{told.get('device')}]", told.get("conditions", [])
    found = [] if _device(told) in allocated else [f"{where}: must be an allocated device in the claim"]
    if len(conditions) > 8:
        found.append(f"{where}.conditions: too many")
    if len(json.dumps(told.get("data", {}))) > 10 * 1024:
        found.append(f"{where}.data: too long")
    unknown = set(told) - {*_LISTS["devices"], "conditions", "data", "networkData"}
    found += [f"{where}.{key}: field not declared in schema" for key in sorted(unknown)]
    found += [f"{where}.conditions: {problem}" for each in conditions for problem in _condition(each)]
    return found + [f"{where}.networkData.{problem}" for problem in _network(told.get("networkData", {}))]


def _condition(told: Json) -> list[str]:
    """ValidateConditions: each has a type, a status, a time, and a reason of at most 1024 characters."""
    found = [] if told.get("status") in ("True", "False", "Unknown") else ["status"]
    if not _TIME.fullmatch(told.get("lastTransitionTime", "")):
        found.append("lastTransitionTime: must be set")
    if not _REASON.fullmatch(told.get("reason", "")) or len(told["reason"]) > 1024:
        found.append("reason")
    return found if len(told.get("message", "")) <= 32 * 1024 else [*found, "message"]


def _network(told: Json) -> list[str]:
    """validateNetworkDeviceData: a name of at most 256 and an address of at most 128 bytes, 16 addresses in their usual
    form (IsValidInterfaceAddress), each once."""
    addresses = told.get("ips", [])
    found = ["interfaceName: too long"] if len(told.get("interfaceName", "")) > 256 else []
    if len(told.get("hardwareAddress", "")) > 128:
        found.append("hardwareAddress: too long")
    if len(addresses) > 16 or len(set(addresses)) < len(addresses):
        found.append("ips: too many, or duplicates")
    return found + [f"ips: {each!r}" for each in addresses if not _is_usual(each)]


def _is_usual(address: str) -> bool:
    try:
        return "/" in address and ipaddress.ip_interface(address).with_prefixlen == address
    except ValueError:
        return False
