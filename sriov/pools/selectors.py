"""Selectors of config.json: whether one takes a device, and why not. Pure; `selector_config` reads the JSON.

Values inside a key are alternatives, keys must all hold, and the first of a list of selectors that fits is the one
whose isRdma, needVhostNet and vdpaType count. A key without values is no constraint. Unlike upstream, every item of
`pfNames` and `rootDevices` that names the device's PF counts, so `["p0#0-3", "p0#8-9"]` takes VFs 8 and 9 too; and a
name that is no regular expression is the whole name: `eth1` is not `eth10` (upstream: deviceSelectors.go, getItem).
"""

import re
from collections.abc import Iterator

import msgspec

from sriov.hardware import node_devices

_EXPRESSION = re.compile(r"[.^$*+?()\[\]{}|\\]")  # a name with one of these is an expression
_RANGES = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*", re.ASCII)


class Functions(msgspec.Struct, frozen=True):
    """A PF, by netdev name or PCI address in lower case, and some of its VFs or SFs.

    `pf` is "" for any PF. `ranges` are pairs of first and last index, both included; None is all of them. `expression`
    matches more PFs, by any part of their names.
    """

    pf: str
    ranges: tuple[tuple[int, int], ...] | None = None
    expression: re.Pattern[str] | None = None

    def names(self, pf: str) -> bool:
        """Report whether this names the PF, by the PF's name."""
        return self.pf in ("", pf.lower()) or (self.expression is not None and self.expression.search(pf) is not None)

    def __contains__(self, index: int | None) -> bool:
        if self.ranges is None:
            return True
        return index is not None and any(first <= index <= last for first, last in self.ranges)


class Selector(msgspec.Struct, frozen=True):
    """One object of `selectors`; an empty set is no constraint. Vendor and device are four lower-case hex digits.

    `need_vhost_net` constrains nothing. `is_rdma` and `vdpa_type` constrain, and give the container device nodes.
    """

    vendors: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    drivers: frozenset[str] = frozenset()
    pci_addresses: frozenset[str] = frozenset()
    acpi_indexes: frozenset[str] = frozenset()
    aux_types: frozenset[str] = frozenset()
    pf_names: tuple[Functions, ...] = ()
    root_devices: tuple[Functions, ...] = ()
    link_types: frozenset[str] = frozenset()
    ddp_profiles: frozenset[str] = frozenset()
    pkeys: frozenset[int] = frozenset()
    is_rdma: bool = False
    need_vhost_net: bool = False
    vdpa_type: str | None = None


EVERY = Selector()


def functions(text: str) -> Functions:
    """Parse `<PF>`, `<PF>#<range>` or `#<range>`; a range is `0-3,5`.

    Raises ValueError with the reason.
    """
    pf, mark, ranges = text.partition("#")
    if not text:
        raise ValueError("no PF is named")
    if not mark:
        return Functions(pf.lower(), None, _expression(pf))
    if not _RANGES.fullmatch(ranges):
        raise ValueError(f"{ranges!r} is not a list of VF indices")
    pairs = tuple(_pair(entry) for entry in ranges.split(","))
    for first, last in pairs:
        if first > last:
            raise ValueError(f"the range {first}-{last} runs backwards")
    return Functions(pf.lower(), pairs, _expression(pf))


def _expression(pf: str) -> re.Pattern[str] | None:
    """Compile an expression. One that is invalid is the name of a PF and nothing else, as upstream."""
    if not _EXPRESSION.search(pf):
        return None
    try:
        return re.compile(pf)
    except re.error:
        return None


def _pair(entry: str) -> tuple[int, int]:
    first, _, last = entry.partition("-")
    return int(first), int(last or first)


def matches(selector: Selector, one: node_devices.Candidate, *, any_driver: bool = False) -> bool:
    """Report whether the selector takes the device; `refusal` gives the reason, but takes four times as long."""
    pkey = None if one.rdma is None else one.rdma.pkey
    return (
        _one_of(selector.vendors, one.vendor)
        and _one_of(selector.devices, one.device)
        and (any_driver or _one_of(selector.drivers, one.driver))
        and _one_of(selector.pci_addresses, one.id)
        and _one_of(selector.acpi_indexes, one.acpi_index)
        and _one_of(selector.aux_types, one.aux_type)
        and _listed(selector.pf_names, one.pf_netdev, one.index)
        and _listed(selector.root_devices, one.pf, one.index)
        and _one_of(selector.link_types, one.link_type.value)
        and _one_of(selector.ddp_profiles, one.ddp_profile)
        and (not selector.pkeys or pkey in selector.pkeys)
        and (not selector.is_rdma or one.rdma is not None)
        and (selector.vdpa_type is None or (one.vdpa is not None and one.vdpa.type == selector.vdpa_type))
    )


def _one_of(wanted: frozenset[str], value: str | None) -> bool:
    return not wanted or value in wanted


def _listed(wanted: tuple[Functions, ...], pf: str | None, index: int | None) -> bool:
    if not wanted:
        return True
    return pf is not None and any(index in item and item.names(pf) for item in wanted)


def refusal(selector: Selector, one: node_devices.Candidate, *, any_driver: bool = False) -> str | None:
    """Return the first key that does not hold, with the device's value; None if the selector takes the device.

    `any_driver` ignores the driver, for a device that has lost its own.
    """
    return next(_refusals(selector, one, any_driver=any_driver), None)


def _refusals(selector: Selector, one: node_devices.Candidate, *, any_driver: bool) -> Iterator[str]:
    values: tuple[tuple[str, frozenset[str], str | None], ...] = (
        ("vendors", selector.vendors, one.vendor),
        ("devices", selector.devices, one.device),
        ("drivers", frozenset() if any_driver else selector.drivers, one.driver),
        ("pciAddresses", selector.pci_addresses, one.id),
        ("acpiIndexes", selector.acpi_indexes, one.acpi_index),
        ("auxTypes", selector.aux_types, one.aux_type),
        ("linkTypes", selector.link_types, one.link_type.value),
        ("ddpProfiles", selector.ddp_profiles, one.ddp_profile),
    )
    for key, wanted, value in values:
        if not _one_of(wanted, value):
            yield f"{key}: it has {value or 'none'}"
    yield from _misplaced(selector, one)
    yield from _unfit(selector, one)


def _misplaced(selector: Selector, one: node_devices.Candidate) -> Iterator[str]:
    for key, wanted, pf in (
        ("pfNames", selector.pf_names, one.pf_netdev),
        ("rootDevices", selector.root_devices, one.pf),
    ):
        if not _listed(wanted, pf, one.index):
            yield f"{key}: it is {f'{pf}#{one.index}' if pf else 'of no PF with such a name'}"


def _unfit(selector: Selector, one: node_devices.Candidate) -> Iterator[str]:
    pkey = None if one.rdma is None else one.rdma.pkey
    if selector.pkeys and pkey not in selector.pkeys:
        yield f"pKeys: it has {'none' if pkey is None else f'0x{pkey:04x}'}"
    if selector.is_rdma and one.rdma is None:
        yield "isRdma: it has no RDMA device"
    kind = None if one.vdpa is None else one.vdpa.type
    if selector.vdpa_type is not None and kind != selector.vdpa_type:
        yield f"vdpaType: it has {kind or 'none'}"
