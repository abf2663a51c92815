"""config.json: the resources and the devices that they take, read into one frozen object; only this package sees JSON.

The format is upstream's. Unknown keys are ignored with a warning. Values that cannot be right are refused, all of them
in one error.
"""

import enum
import pathlib
from typing import TypeVar

import msgspec

from sriov import errors
from sriov.kubelet import names
from sriov.pools import go_json, resources, selector_config, selectors

_VARIABLES = (names.variable, names.info_variable)

E = TypeVar("E", bound=enum.Enum)


class ConfigError(errors.SriovError):
    """The file cannot be used. The message has a line for each problem."""


class UnreadableError(ConfigError):
    """There is no file, or nobody may read it: another one has to be named."""


class _RawFile(msgspec.Struct, rename="camel"):
    resource_list: list[object] | None = None


class _RawResource(msgspec.Struct, rename="camel"):
    resource_name: str = ""
    resource_prefix: str = ""
    device_type: str = ""
    exclude_topology: bool = False
    selectors: object = None
    additional_info: dict[str, dict[str, str | None] | None] | None = None
    # Our own keys; the first two have the names that were proposed upstream.
    check_health_on_pf: bool = False
    check_health_on_device_exist: bool = True
    check_health_on_driver: bool = True
    check_health_on_cleanup: bool = True
    allocation_policy: str = ""
    offer_host_addresses: bool = False
    publish: str = ""


_OF_UPSTREAMS_STRUCT = ("selectorobj", "selectorobjs")
"""Fields without a JSON name, which encoding/json writes all the same: sriov-network-operator's files have them as null
(sriov-network-device-plugin, pkg/types/types.go, ResourceConfig)."""

RESOURCE_KEYS = tuple(field.encode_name for field in msgspec.structs.fields(_RawResource))


def load(path: pathlib.Path, default_prefix: str) -> resources.Configuration:
    """Read the file. Raises ConfigError, also if there is no file."""
    return parse(data(path), str(path), default_prefix)


def data(path: pathlib.Path) -> bytes:
    """The file as it is. Raises UnreadableError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error


def parse(text: bytes, source: str, default_prefix: str) -> resources.Configuration:
    """Read a config.json. `default_prefix` is for resources that state no prefix. Raises ConfigError."""
    try:
        value = go_json.document(text)
    except ValueError as error:
        raise ConfigError(f"{source} is not JSON: {error}", "look for an extra comma before ] or }") from error
    reader = go_json.Reader()
    raw = reader.struct(_RawFile, value, "").resource_list or []
    read = [_resource(reader, item, f"resourceList[{number}]", default_prefix) for number, item in enumerate(raw)]
    _check_unique(reader, read)
    _check_pools(reader, read)
    if reader.problems:
        raise ConfigError("\n".join(f"{source}: {problem}" for problem in reader.problems))
    if not read:
        reader.warn("there is no resource in resourceList, nothing is advertised")
    return resources.Configuration(tuple(read), tuple(f"{source}: {warning}" for warning in reader.warnings))


def _resource(reader: go_json.Reader, value: object, path: str, default_prefix: str) -> resources.Resource:
    raw = reader.struct(_RawResource, value, path, _OF_UPSTREAMS_STRUCT)
    prefix = raw.resource_prefix or default_prefix
    _check_name(reader, path, prefix, raw.resource_name)
    kind = _one_of(reader, resources.DeviceType, raw.device_type, f"{path}.deviceType") or resources.DeviceType.NET
    policy = _one_of(reader, resources.AllocationPolicy, raw.allocation_policy, f"{path}.allocationPolicy")
    publish = _one_of(reader, resources.Publication, raw.publish, f"{path}.publish")
    return resources.Resource(
        prefix,
        raw.resource_name,
        _selectors(reader, raw.selectors, f"{path}.selectors", kind),
        kind=kind,
        exclude_topology=raw.exclude_topology,
        additional_info=_additional_info(reader, raw, f"{path}.additionalInfo"),
        policy=policy or resources.AllocationPolicy.SPREAD,
        checks=resources.Checks(raw.check_health_on_pf, raw.check_health_on_driver, raw.check_health_on_cleanup),
        host_addresses=raw.offer_host_addresses,
        publish=publish or resources.Publication.DEVICE_PLUGIN,
    )


def _one_of(reader: go_json.Reader, values: type[E], text: str, path: str) -> E | None:
    """Return the enum's value of that exact name; None if the text is empty or wrong."""
    known = {str(one.value): one for one in values}
    if text and text not in known:
        remedy = f"write {', '.join(known)}, exactly as written here, or leave it out"
        reader.refuse(path, text, "there is no such value", remedy)
    return known.get(text)


def _check_name(reader: go_json.Reader, path: str, prefix: str, name: str) -> None:
    if not names.name_is_valid(name):
        remedy = f"use 1 to {names.NAME_MAX} letters, digits, - and _, a letter or digit first and last"
        reader.refuse(f"{path}.resourceName", name, "the kubelet does not accept this name", remedy)
    if not names.prefix_is_valid(prefix):
        remedy = f"use a domain of yours, in lower case, of at most {names.PREFIX_MAX} characters, as in intel.com"
        reader.refuse(f"{path}.resourcePrefix", prefix, "the kubelet does not accept this prefix", remedy)


def _check_unique(reader: go_json.Reader, read: list[resources.Resource]) -> None:
    """Check the names, also as environment variables, in which case and dots are lost and _INFO is added."""
    variables: dict[str, str] = {}
    seen: set[str] = set()
    for resource in read:
        name = resource.full_name
        if name in seen and resource.name:
            remedy = "give each resource its own name, or join them into one with a list of selectors"
            reader.refuse("resourceList", name, "two resources have this name", remedy)
        seen.add(name)
        for variable in (function(resource.prefix, resource.name) for function in _VARIABLES):
            other = variables.setdefault(variable, name)
            if other != name:
                reader.warn(f"{other} and {name} both set {variable}, a container that asks for both sees one")


def _check_pools(reader: go_json.Reader, read: list[resources.Resource]) -> None:
    """Check that no two resources have one pool of ResourceSlices: pools' names have no capitals and no _."""
    pools: dict[str, str] = {}
    for resource in (one for one in read if one.publish is resources.Publication.DRA):
        pool = names.pool(resource.prefix, resource.name)
        other = pools.setdefault(pool, resource.full_name)
        if other != resource.full_name:
            remedy = "give one of them a name that differs in more than capitals, - and _"
            reader.refuse("resourceList", resource.full_name, f"{other} has the same DRA pool, {pool}", remedy)


def _selectors(
    reader: go_json.Reader, value: object, path: str, kind: resources.DeviceType
) -> tuple[selectors.Selector, ...] | None:
    if value is None and kind is not resources.DeviceType.AUXILIARY:  # those have to name auxTypes
        return None
    if isinstance(value, list):
        if not value:
            reader.warn(f"{path} is an empty list, the resource takes no device")
        return tuple(selector_config.read(reader, item, f"{path}[{number}]", kind) for number, item in enumerate(value))
    return (selector_config.read(reader, value, path, kind),)


def _additional_info(reader: go_json.Reader, raw: _RawResource, path: str) -> dict[str, dict[str, str]] | None:
    """Read it by full PCI address, or `*`; the values go to the container as they are."""
    if raw.additional_info is None:
        return None
    found = {}
    for key, values in raw.additional_info.items():
        address = key if key == "*" else selector_config.pci(key.lower())
        if address is None:
            reader.warn(f"{path}.{key} is neither * nor a PCI address: it matches nothing")
        found[address or key] = {name: text or "" for name, text in (values or {}).items()}
    return found
