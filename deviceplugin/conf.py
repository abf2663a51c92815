"""config.json: which resources there are and which VFs they take. One frozen object; nobody downstream sees JSON.

The file is the incumbent's. What we do not know is ignored with a warning, what cannot be right is refused, and all of
it at once. Keys that we know and do not honour yet are named in a warning, above all where a pool gets wider by that.
"""

import dataclasses
import pathlib
import re
from collections.abc import Callable

import msgspec

from deviceplugin import gojson, names, selectors
from sriov import errors

_HEX = re.compile(r"(0x)?([0-9a-f]{4})")
_PCI = re.compile(r"([0-9a-f]{4,8}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")

_RANGE_REMEDY = "write <PF> or <PF>#<VF indices>, as in eth0#0-3,5"

# Later keys, in lower case. The first narrow a pool with the incumbent; the others only add to what a pod is given.
_LATER_CONSTRAINTS = {
    key.lower(): key for key in ("acpiIndexes", "linkTypes", "ddpProfiles", "pKeys", "isRdma", "vdpaType", "auxTypes")
}
_LATER_EXTRAS = {"needvhostnet": "needVhostNet"}
_LATER_RESOURCE = {"additionalinfo": "additionalInfo"}

_VARIABLES = (names.variable, names.info_variable)


class ConfigError(errors.SriovError):
    """The file cannot be used. The text has a line for each problem."""


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """One entry of `resourceList`. A VF is taken by any of the `alternatives`; None takes every VF, empty none."""

    prefix: str
    name: str
    alternatives: tuple[selectors.Selector, ...] | None = None
    exclude_topology: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """The resources in file order, and what was ignored on the way, for the log."""

    resources: tuple[Resource, ...]
    warnings: tuple[str, ...] = ()


_Strings = list[str | None] | None  # a null in a list is an empty string to Go


class _RawFile(msgspec.Struct, rename="camel"):
    resource_list: list[object] | None = None


class _RawResource(msgspec.Struct, rename="camel"):
    resource_name: str = ""
    resource_prefix: str = ""
    device_type: str = ""
    exclude_topology: bool = False
    selectors: object = None


class _RawSelector(msgspec.Struct, rename="camel"):
    vendors: _Strings = None
    devices: _Strings = None
    drivers: _Strings = None
    pci_addresses: _Strings = None
    pf_names: _Strings = None
    root_devices: _Strings = None


def load(path: pathlib.Path, default_prefix: str) -> Configuration:
    """Read the file. Raises ConfigError, also where there is no file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "name the file with --config-file") from error
    return parse(data, str(path), default_prefix)


def parse(data: bytes, source: str, default_prefix: str) -> Configuration:
    """Read a config.json. `default_prefix` is the prefix of resources that state none. Raises ConfigError."""
    try:
        value = gojson.document(data)
    except ValueError as error:
        raise ConfigError(f"{source} is not JSON: {error}", "there may be a comma too many before ] or }") from error
    reader = gojson.Reader()
    raw = reader.struct(_RawFile, value, "").resource_list or []
    read = [_resource(reader, item, f"resourceList[{number}]", default_prefix) for number, item in enumerate(raw)]
    resources = [resource for resource in read if resource is not None]
    _check_unique(reader, resources)
    if reader.problems:
        raise ConfigError("\n".join(f"{source}: {problem}" for problem in reader.problems))
    if not resources:
        reader.warn("there is no resource in resourceList, nothing is advertised")
    return Configuration(tuple(resources), tuple(f"{source}: {warning}" for warning in reader.warnings))


def _resource(reader: gojson.Reader, value: object, path: str, default_prefix: str) -> Resource | None:
    raw = reader.struct(_RawResource, value, path, _LATER_RESOURCE)
    _warn_later(reader, value, path, _LATER_RESOURCE, "is not honoured yet, it is ignored")
    prefix = raw.resource_prefix or default_prefix
    _check_name(reader, path, prefix, raw.resource_name)
    chosen = _selectors(reader, raw.selectors, f"{path}.selectors")
    resource = Resource(prefix, raw.resource_name, chosen, raw.exclude_topology)
    return resource if _is_for_vfs(reader, raw.device_type, path, resource) else None


def _is_for_vfs(reader: gojson.Reader, device_type: str, path: str, resource: Resource) -> bool:
    """A resource for other devices takes no VF: it would take those of the resources after it."""
    if device_type in ("", "netDevice"):
        return True
    if device_type in ("accelerator", "auxNetDevice"):
        name = names.resource(resource.prefix, resource.name)
        reader.warn(f"{path}.deviceType {device_type} is not honoured yet, {name} is not advertised")
    else:
        remedy = "write netDevice, accelerator or auxNetDevice, in these letters, or leave it out"
        reader.refuse(f"{path}.deviceType", device_type, "there is no such device type", remedy)
    return False


def _check_name(reader: gojson.Reader, path: str, prefix: str, name: str) -> None:
    if not names.name_is_valid(name):
        remedy = f"use 1 to {names.NAME_MAX} letters, digits, - and _, a letter or digit first and last"
        reader.refuse(f"{path}.resourceName", name, "the kubelet accepts no such name", remedy)
    if not names.prefix_is_valid(prefix):
        remedy = f"use a domain of yours, in lower case, of at most {names.PREFIX_MAX} characters, as in intel.com"
        reader.refuse(f"{path}.resourcePrefix", prefix, "the kubelet accepts no such prefix", remedy)


def _check_unique(reader: gojson.Reader, resources: list[Resource]) -> None:
    """Two names may also meet in a container's environment, where case and dots are lost and _INFO is added."""
    variables: dict[str, str] = {}
    seen: set[str] = set()
    for resource in resources:
        name = names.resource(resource.prefix, resource.name)
        if name in seen and resource.name:
            remedy = "give each resource its own name, or join them into one with a list of selectors"
            reader.refuse("resourceList", name, "two resources have this name", remedy)
        seen.add(name)
        for variable in (function(resource.prefix, resource.name) for function in _VARIABLES):
            other = variables.setdefault(variable, name)
            if other != name:
                reader.warn(f"{other} and {name} both set {variable}, a container that asks for both sees one")


def _selectors(reader: gojson.Reader, value: object, path: str) -> tuple[selectors.Selector, ...] | None:
    if value is None:
        return None
    if isinstance(value, list):
        if not value:
            reader.warn(f"{path} is an empty list, the resource takes no VF")
        return tuple(_selector(reader, item, f"{path}[{number}]") for number, item in enumerate(value))
    return (_selector(reader, value, path),)


def _selector(reader: gojson.Reader, value: object, path: str) -> selectors.Selector:
    raw = reader.struct(_RawSelector, value, path, _LATER_CONSTRAINTS.keys() | _LATER_EXTRAS)
    _warn_later(reader, value, path, _LATER_EXTRAS, "is not honoured yet, it is ignored")
    wider = "is not honoured yet: THE POOL ALSO TAKES VFs THAT IT SHOULD EXCLUDE"
    _warn_later(reader, value, path, _LATER_CONSTRAINTS, wider)
    return selectors.Selector(
        vendors=_values(reader, raw.vendors, f"{path}.vendors", _hex_id),
        devices=_values(reader, raw.devices, f"{path}.devices", _hex_id),
        drivers=frozenset(text or "" for text in raw.drivers or []),
        pci_addresses=_values(reader, raw.pci_addresses, f"{path}.pciAddresses", _pci),
        pf_names=_functions(reader, raw.pf_names, f"{path}.pfNames"),
        root_devices=_root_devices(reader, raw.root_devices, f"{path}.rootDevices"),
    )


def _warn_later(reader: gojson.Reader, value: object, path: str, later: dict[str, str], what: str) -> None:
    for key, item in value.items() if isinstance(value, dict) else ():
        if item and key.lower() in later:
            reader.warn(f"{path}.{later[key.lower()]} {gojson.shown(item)} {what}")


def _values(reader: gojson.Reader, raw: _Strings, path: str, normal: Callable[[str], str | None]) -> frozenset[str]:
    found = set()
    for number, text in enumerate(raw or []):
        lower = (text or "").lower()
        value = normal(lower)
        if value is None:
            reader.warn(f"{path}[{number}] is {gojson.shown(text)}, which no device has: it matches nothing")
        found.add(value or lower)
    return frozenset(found)


def _hex_id(text: str) -> str | None:
    found = _HEX.fullmatch(text)
    return found[2] if found else None


def _pci(text: str) -> str | None:
    """A PCI address in full; people leave out the domain, as lspci does."""
    found = _PCI.fullmatch(text)
    if found is None:
        return None
    return text if found[1] else f"0000:{text}"


def _root_devices(reader: gojson.Reader, raw: _Strings, path: str) -> tuple[selectors.Functions, ...]:
    read = _functions(reader, raw, path)
    _values(reader, [item.pf for item in read], path, _pci)
    return tuple(dataclasses.replace(item, pf=_pci(item.pf) or item.pf) for item in read)


def _functions(reader: gojson.Reader, raw: _Strings, path: str) -> tuple[selectors.Functions, ...]:
    found = []
    for number, text in enumerate(raw or []):
        try:
            found.append(selectors.functions(text or ""))
        except ValueError as error:
            reader.refuse(f"{path}[{number}]", text, str(error), _RANGE_REMEDY)
    return tuple(found)
