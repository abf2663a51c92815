"""Provisioning file: which PFs get how many VFs, with which settings. YAML, or JSON if its name ends in .json.

The types come from the structs here and never from YAML, which reads the PCI address 0000:01:00.0 as sixty (YAML 1.1
has numbers of base 60), 02:00 as a time and 0x8086 as a number. An unknown key is an error, and so is one that comes
twice. The only module here that uses yaml; docs/provisioning.md documents the keys.
"""

import difflib
import pathlib
import re
from typing import Annotated, Any, Literal

import msgspec
import yaml

from sriov import devices, errors, settings
from sriov.provisioning import policies

_AT = re.compile(r"(?P<what>.*?) - at `\$(?P<path>.*?)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.*)`")
_HEX = re.compile(r"(0x)?(?P<digits>[0-9a-fA-F]{4})")
_REMEDY = "docs/provisioning.md shows every key with its values"


class DocumentError(errors.SriovError):
    """The file cannot be used."""


class _Selector(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    pf_names: list[str] = []
    pci_addresses: list[str] = []
    vendors: list[str] = []
    devices: list[str] = []
    drivers: list[str] = []


class _MacRange(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    first: str
    last: str


class _Policy(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    selector: _Selector
    num_vfs: Annotated[int, msgspec.Meta(ge=0, le=65535)]  # NumVFs is 16 bits wide (PCIe base spec 9.3.3.7)
    name: str = ""
    driver: str | None = None
    mtu: Annotated[int, msgspec.Meta(ge=68, le=65535)] | None = None  # bytes; IPv4's least, RFC 791
    eswitch_mode: Literal["legacy", "switchdev"] | None = None
    trust: bool | None = None
    spoofchk: bool | None = None
    mac_range: _MacRange | None = None


class _File(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    policies: list[_Policy]


KEYS = {
    kind: tuple(field.encode_name for field in msgspec.structs.fields(kind))
    for kind in (_File, _Policy, _Selector, _MacRange)
}
"""Keys by object, for the documentation."""


def load(path: pathlib.Path) -> tuple[policies.PfPolicy, ...]:
    """Read the file. Raises DocumentError, also if there is no file."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DocumentError(f"{path} cannot be read: {error.strerror}", "name an existing file") from error
    return parse(text, str(path))


def parse(text: bytes, source: str) -> tuple[policies.PfPolicy, ...]:
    """Parse it. `source` names the file in messages, and its end selects the format. Raises DocumentError."""
    value = _json(text, source) if source.endswith(".json") else _yaml(text, source)
    try:
        raw = msgspec.convert(value, _File, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(error, value, source) from error
    read = tuple(_policy(each, f"{source}: policies[{number}]") for number, each in enumerate(raw.policies))
    _check_ranges(read, source)
    return read


def _json(text: bytes, source: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise DocumentError(f"{source} is not JSON: {error}", "look for an extra comma before ] or }") from error


class _Loader(yaml.BaseLoader):  # type: ignore[misc]
    """Loads every scalar as a string, and refuses a key that comes twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} comes twice", key.start_mark)
            seen.add(key.value)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def _yaml(text: bytes, source: str) -> object:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a subclass of BaseLoader, which makes strings and nothing else)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        shown = " ".join(str(error).split())
        raise DocumentError(f"{source} is not YAML: {shown}", "indent with blanks, one list item a dash") from error


def _invalid(error: msgspec.ValidationError, value: object, source: str) -> DocumentError:
    """Turn msgspec's error into ours, with the value at that place."""
    found = _AT.fullmatch(str(error))
    what, path = (found["what"], found["path"]) if found else (str(error), "")
    here = f"{source}: {path.removeprefix('.') or 'the file'}"
    if unknown := _UNKNOWN.fullmatch(what):
        known = [key for keys in KEYS.values() for key in keys]
        close = difflib.get_close_matches(unknown["key"], known, 1)
        meant = f"did you mean {close[0]}? " if close else ""
        return DocumentError(f"{here} has a key {unknown['key']!r} that is not known", f"{meant}{_REMEDY}")
    return DocumentError(f"{here} is {_at(value, path)!r}: {what}", _REMEDY)


def _at(value: Any, path: str) -> object:
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        value = value[name] if name else value[int(index)]
    return value


def _policy(raw: _Policy, where: str) -> policies.PfPolicy:
    return policies.PfPolicy(
        name=raw.name or where.rpartition(" ")[2],
        selector=_selector(raw.selector, f"{where}.selector"),
        numvfs=raw.num_vfs,
        driver=_driver(raw.driver, f"{where}.driver"),
        mtu=raw.mtu,
        eswitch=raw.eswitch_mode and devices.EswitchMode(raw.eswitch_mode),
        trust=raw.trust,
        spoofchk=raw.spoofchk,
        macs=None if raw.mac_range is None else _range(raw.mac_range, f"{where}.macRange"),
    )


def _selector(raw: _Selector, where: str) -> policies.PfSelector:
    if not any((raw.pf_names, raw.pci_addresses, raw.vendors, raw.devices, raw.drivers)):
        raise DocumentError(f"{where} is empty, and would take every PF", "name the PFs, as in pfNames: [eth1]")
    for name in raw.pf_names:
        if "#" in name:
            raise DocumentError(f"{where}.pfNames has {name!r}: VFs are not chosen here", "name only the PF")
    return policies.PfSelector(
        pf_names=frozenset(raw.pf_names),
        pci_addresses=frozenset(_pci(each, f"{where}.pciAddresses") for each in raw.pci_addresses),
        vendors=frozenset(_id(each, f"{where}.vendors") for each in raw.vendors),
        devices=frozenset(_id(each, f"{where}.devices") for each in raw.devices),
        drivers=frozenset(raw.drivers),
    )


def _pci(text: str, where: str) -> str:
    full = text.lower() if text.count(":") > 1 else f"0000:{text.lower()}"  # lspci leaves the domain out
    try:
        return devices.pci_address(full)
    except errors.DeviceError as error:
        raise DocumentError(f"{where} has {text!r}, which is no PCI address", error.remedy) from error


def _id(text: str, where: str) -> str:
    found = _HEX.fullmatch(text)
    if found is None:
        raise DocumentError(f"{where} has {text!r}", "write four hex digits, as `lspci -n` shows them: 8086")
    return found["digits"].lower()


def _driver(name: str | None, where: str) -> str | None:
    if name is not None and not re.fullmatch(r"[\w-]+", name):
        raise DocumentError(
            f"{where} is {name!r}", f"write vfio-pci, another driver's name, or {policies.DEFAULT_DRIVER}"
        )
    return name


def _range(raw: _MacRange, where: str) -> policies.MacRange:
    numbers = []
    for key, text in (("first", raw.first), ("last", raw.last)):
        try:
            numbers.append(int(settings.mac(text).replace(":", ""), 16))
        except errors.SettingError as error:
            raise DocumentError(f"{where}.{key}: {error.message}", "write a unicast one: 02:00:00:00:01:00") from error
    found = policies.MacRange(*numbers)
    if found.last < found.first or numbers[0] >> 40 != numbers[1] >> 40:
        wrong = f"{where} goes from {raw.first} to {raw.last}"
        raise DocumentError(wrong, "write the lower address first, with the same first octet in both")
    return found


def _check_ranges(read: tuple[policies.PfPolicy, ...], source: str) -> None:
    ranged = [each for each in read if each.macs is not None]
    for number, one in enumerate(ranged):
        for other in ranged[number + 1 :]:
            if one.macs is not None and other.macs is not None and one.macs.overlaps(other.macs):
                both = f"{one.name} and {other.name}"
                raise DocumentError(f"{source}: the macRanges of {both} overlap", "give each its own addresses")
