"""Rules of kube-apiserver about ResourceSlices, as its validation has them. Pure.

Each rule names where it is from, in kubernetes/kubernetes: functions are of pkg/apis/resource/validation/validation.go,
`types.go` is staging/src/k8s.io/api/resource/v1/types.go.
"""

import re
from typing import Any

Json = dict[str, Any]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, IsDNS1123Label
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")  # IsDNS1123Subdomain
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # IsCIdentifier
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?")  # IsValidLabelValue
_EFFECTS = ("None", "NoSchedule", "NoExecute")  # types.go, DeviceTaintEffect
_IMMUTABLE = ("driver", "nodeName")  # validateResourceSliceSpec; pool.name beside them


def refusals(told: Json, old: Json | None = None) -> list[str]:
    """Return what the API server refuses about a slice, or about a slice in the place of `old`."""
    spec = told["spec"]
    found = [*_driver(spec), *_pool(spec["pool"]), *_devices(spec.get("devices", []))]
    if not spec.get("nodeName"):
        found.append(
            "spec: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
        )
    if old is not None:
        before = old["spec"]
        found += [f"spec.{key}: field is immutable" for key in _IMMUTABLE if spec.get(key) != before.get(key)]
        if spec["pool"]["name"] != before["pool"]["name"]:
            found.append("spec.pool.name: field is immutable")
    return found


def _driver(spec: Json) -> list[str]:
    """validateDriverName: a DNS subdomain of at most 63 characters (types.go, DriverNameMaxLength)."""
    name = spec.get("driver", "")
    return [] if len(name) <= 63 and _SUBDOMAIN.fullmatch(name) else [f"spec.driver: {name!r}"]


def _pool(pool: Json) -> list[str]:
    """validateResourcePool and validatePoolName: DNS subdomains joined by slashes, of at most 253 characters."""
    name = pool.get("name", "")
    good = len(name) <= 253 and all(_SUBDOMAIN.fullmatch(part) for part in name.split("/"))
    found = [] if good else [f"spec.pool.name: {name!r}"]
    if pool.get("resourceSliceCount", 0) <= 0:
        found.append("spec.pool.resourceSliceCount: must be greater than zero")
    if pool.get("generation", 0) < 0:
        found.append("spec.pool.generation: must be greater than or equal to zero")
    return found


def _devices(devices: list[Json]) -> list[str]:
    """validateSet: at most 128, or 64 once any has taints (types.go, ResourceSliceMaxDevices and
    ResourceSliceMaxDevicesWithAdvancedFeatures), each name once."""
    most = 64 if any(each.get("taints") for each in devices) else 128
    found = [f"spec.devices: too many: {len(devices)}: must have at most {most} items"] if len(devices) > most else []
    names = [each.get("name", "") for each in devices]
    found += [f"spec.devices: duplicate value: {name!r}" for name in set(names) if names.count(name) > 1]
    return found + [problem for each in devices for problem in _device(each)]


def _device(device: Json) -> list[str]:
    """validateDevice: a DNS label as name, 32 attributes (types.go, ResourceSliceMaxAttributesAndCapacitiesPerDevice),
    16 taints (DeviceTaintsMaxLength)."""
    where = f"spec.devices[{device.get('name')}]"
    found = [] if _LABEL.fullmatch(device.get("name", "")) else [f"{where}.name"]
    attributes, taints = device.get("attributes", {}), device.get("taints", [])
    if len(attributes) > 32:
        found.append(f"{where}: the total number of attributes and capacities must not exceed 32")
    if len(taints) > 16:
        found.append(f"{where}.taints: too many")
    found += [f"{where}.attributes[{key}]: {problem}" for key, value in attributes.items()
              for problem in _attribute(key, value)]  # fmt: skip
    return found + [f"{where}.taints: {problem}" for each in taints for problem in _taint(each)]


def _attribute(key: str, value: Json) -> list[str]:
    """validateQualifiedName, validateDeviceAttribute: strings of at most 64 bytes (DeviceAttributeMaxValueLength)."""
    domain, slash, name = key.rpartition("/")
    found = []
    if slash and not (len(domain) <= 63 and _SUBDOMAIN.fullmatch(domain)):
        found.append("the domain is no DNS subdomain of at most 63 characters")
    if len(name) > 32 or not _IDENTIFIER.fullmatch(name):
        found.append("the name is no C identifier of at most 32 characters")
    if len(value) != 1 or set(value) - {"bool", "int", "string", "version"}:
        found.append("exactly one value must be specified")
    if len(str(value.get("string", "")).encode()) > 64:
        found.append("string: too long")
    kinds = {"bool": bool, "int": int, "string": str, "version": str}
    return found + [f"{kind}: wrong type" for kind, one in value.items() if type(one) is not kinds.get(kind)]


def _taint(taint: Json) -> list[str]:
    """validateDeviceTaint: a label's key, a label's value of at most 63 characters, a known effect."""
    domain, slash, name = taint.get("key", "").rpartition("/")
    good = name and len(name) <= 63 and _LABEL_VALUE.fullmatch(name) and (not slash or _SUBDOMAIN.fullmatch(domain))
    found = [] if good else [f"key {taint.get('key')!r}"]
    if len(taint.get("value", "")) > 63 or not _LABEL_VALUE.fullmatch(taint.get("value", "")):
        found.append("value")
    return found if taint.get("effect") in _EFFECTS else [*found, f"effect {taint.get('effect')!r}"]
