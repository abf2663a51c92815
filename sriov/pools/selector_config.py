"""Reader of one selector of config.json. A value that no device can have is a warning, and still constrains."""

import re
from collections.abc import Callable, Mapping

import msgspec

from sriov.hardware.drivers import vdpa_devices
from sriov.pools import go_json, resources, selectors

_HEX = re.compile(r"(0x)?([0-9a-f]{4})")
_PCI = re.compile(r"([0-9a-f]{4,8}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
_PKEY = re.compile(r"(0x)?[0-9a-f]{1,4}")
_RANGE_REMEDY = "write <PF> or <PF>#<VF indices>, as in eth0#0-3,5"

_Strings = list[str | None] | None  # a null in a list is an empty string to Go


class _Raw(msgspec.Struct, rename="camel"):
    vendors: _Strings = None
    devices: _Strings = None
    drivers: _Strings = None
    pci_addresses: _Strings = None
    acpi_indexes: _Strings = None
    pf_names: _Strings = None
    root_devices: _Strings = None
    link_types: _Strings = None
    ddp_profiles: _Strings = None
    p_keys: _Strings = None
    is_rdma: bool = False
    need_vhost_net: bool = False
    vdpa_type: str = ""
    aux_types: _Strings = None


_COMMON = {"vendors", "devices", "drivers", "acpiIndexes"}
_ON_A_PF = {"pfNames", "rootDevices", "linkTypes", "isRdma", "needVhostNet"}
KEYS = {
    resources.DeviceType.NET: _COMMON | _ON_A_PF | {"pciAddresses", "ddpProfiles", "pKeys", "vdpaType"},
    resources.DeviceType.ACCELERATOR: _COMMON | {"pciAddresses"},
    resources.DeviceType.AUXILIARY: _COMMON | _ON_A_PF | {"auxTypes"},
}
"""Keys of each kind of resource; a key of another kind is ignored with a warning, as upstream."""


def read(reader: go_json.Reader, value: object, path: str, kind: resources.DeviceType) -> selectors.Selector:
    """Read an object into a selector; problems go to the reader."""
    raw = reader.struct(_Raw, _known(reader, value, path, kind), path)
    _check(reader, raw, path, kind)
    return selectors.Selector(
        vendors=_values(reader, raw.vendors, f"{path}.vendors", _hex_id),
        devices=_values(reader, raw.devices, f"{path}.devices", _hex_id),
        drivers=frozenset(text or "" for text in raw.drivers or []),
        pci_addresses=_values(reader, raw.pci_addresses, f"{path}.pciAddresses", pci),
        acpi_indexes=_values(reader, raw.acpi_indexes, f"{path}.acpiIndexes", _decimal),
        aux_types=frozenset(text or "" for text in raw.aux_types or []),
        pf_names=_functions(reader, raw.pf_names, f"{path}.pfNames"),
        root_devices=_root_devices(reader, raw.root_devices, f"{path}.rootDevices"),
        link_types=_values(reader, raw.link_types, f"{path}.linkTypes", _link_type),
        ddp_profiles=frozenset(text or "" for text in raw.ddp_profiles or []),
        pkeys=_pkeys(reader, raw.p_keys, f"{path}.pKeys"),
        is_rdma=raw.is_rdma,
        need_vhost_net=raw.need_vhost_net,
        vdpa_type=raw.vdpa_type or None,
    )


def pci(text: str) -> str | None:
    """Return a full PCI address, None for other text; a missing domain is added, since lspci leaves it out."""
    found = _PCI.fullmatch(text)
    if found is None:
        return None
    return text if found[1] else f"0000:{text}"


def _known(reader: go_json.Reader, value: object, path: str, kind: resources.DeviceType) -> object:
    """Return the object without the keys that only other kinds of resources have."""
    if not isinstance(value, Mapping):
        return value
    own = {key.lower() for key in KEYS[kind]}
    others = {key.lower(): key for key in set().union(*KEYS.values()) if key.lower() not in own}
    for key in value:
        if key.lower() in others:
            reader.warn(f"{path}.{others[key.lower()]} is not a key of {kind.value} resources, it is ignored")
    return {key: item for key, item in value.items() if key.lower() not in others}


def _check(reader: go_json.Reader, raw: _Raw, path: str, kind: resources.DeviceType) -> None:
    if raw.is_rdma and raw.vdpa_type:
        reader.refuse(f"{path}.vdpaType", raw.vdpa_type, "it excludes isRdma", "keep one of the two")
    if raw.vdpa_type and raw.vdpa_type not in vdpa_devices.TYPES.values():
        reader.warn(f"{path}.vdpaType is {go_json.shown(raw.vdpa_type)}, not vhost or virtio: it matches nothing")
    if kind is resources.DeviceType.AUXILIARY and (not raw.aux_types or any(text != "sf" for text in raw.aux_types)):
        reader.refuse(f"{path}.auxTypes", raw.aux_types, "only subfunctions are supported", 'write "auxTypes": ["sf"]')


def _values(reader: go_json.Reader, raw: _Strings, path: str, normal: Callable[[str], str | None]) -> frozenset[str]:
    found = set()
    for number, text in enumerate(raw or []):
        lower = (text or "").lower()
        value = normal(lower)
        if value is None:
            _warn_of_nothing(reader, f"{path}[{number}]", text)
        found.add(value or lower)
    return frozenset(found)


def _warn_of_nothing(reader: go_json.Reader, path: str, text: str | None) -> None:
    reader.warn(f"{path} is {go_json.shown(text)}, which no device has: it matches nothing")


def _hex_id(text: str) -> str | None:
    found = _HEX.fullmatch(text)
    return found[2] if found else None


def _decimal(text: str) -> str | None:
    return text if text.isdecimal() else None


def _link_type(text: str) -> str | None:
    return text if text in ("ether", "infiniband") else None


def _pkeys(reader: go_json.Reader, raw: _Strings, path: str) -> frozenset[int]:
    """Read partition keys as numbers: the kernel writes 0x0001, people 0x1. -1 is a key that no device has."""
    found = set()
    for number, text in enumerate(raw or []):
        valid = _PKEY.fullmatch((text or "").lower())
        if not valid:
            _warn_of_nothing(reader, f"{path}[{number}]", text)
        found.add(int(text or "", 16) if valid else -1)
    return frozenset(found)


def _root_devices(reader: go_json.Reader, raw: _Strings, path: str) -> tuple[selectors.Functions, ...]:
    """Read PFs by name or address. The dot of an address must not make it an expression."""
    found = []
    for number, item in enumerate(_functions(reader, raw, path)):
        address = pci(item.pf)
        if item.pf and item.expression is None and not address:
            _warn_of_nothing(reader, f"{path}[{number}]", item.pf)
        found.append(msgspec.structs.replace(item, pf=address, expression=None) if address else item)
    return tuple(found)


def _functions(reader: go_json.Reader, raw: _Strings, path: str) -> tuple[selectors.Functions, ...]:
    found = []
    for number, text in enumerate(raw or []):
        try:
            found.append(selectors.functions(text or ""))
        except ValueError as error:
            reader.refuse(f"{path}[{number}]", text, str(error), _RANGE_REMEDY)
    return tuple(found)
