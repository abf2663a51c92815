"""Which VFs a selector of config.json takes. Pure: facts in, an answer out; the config's JSON is read in conf.

Values inside a key are alternatives, keys must all hold, and of a list of selectors one has to match. A key without
values is no constraint. Unlike the incumbent, every item of `pfNames` and `rootDevices` that names the VF's PF
counts, so `["p0#0-3", "p0#8-9"]` takes VFs 8 and 9 too.
"""

import dataclasses
import re
from collections.abc import Iterable

from sriov import devices

_RANGES = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Functions:
    """A PF, by netdev name or PCI address in lower case, and which of its VFs.

    `ranges` are pairs of first and last VF index, both included; None is all VFs.
    """

    pf: str
    ranges: tuple[tuple[int, int], ...] | None = None

    def __contains__(self, index: int) -> bool:
        return self.ranges is None or any(first <= index <= last for first, last in self.ranges)


@dataclasses.dataclass(frozen=True, slots=True)
class Selector:
    """One object of `selectors`. Vendor and device are four lower-case hex digits; an empty set is no constraint."""

    vendors: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    drivers: frozenset[str] = frozenset()
    pci_addresses: frozenset[str] = frozenset()
    pf_names: tuple[Functions, ...] = ()
    root_devices: tuple[Functions, ...] = ()


def functions(text: str) -> Functions:
    """Parse `<PF>` or `<PF>#<range>`; a range is `0-3,5`.

    Raises ValueError with what is wrong.
    """
    pf, mark, ranges = text.partition("#")
    if not pf:
        raise ValueError("no PF is named")
    if not mark:
        return Functions(pf.lower())
    if not _RANGES.fullmatch(ranges):
        raise ValueError(f"{ranges!r} is not a list of VF indices")
    pairs = tuple(_pair(entry) for entry in ranges.split(","))
    for first, last in pairs:
        if first > last:
            raise ValueError(f"the range {first}-{last} runs backwards")
    return Functions(pf.lower(), pairs)


def _pair(entry: str) -> tuple[int, int]:
    first, _, last = entry.partition("-")
    return int(first), int(last or first)


def matches(selector: Selector, vf: devices.VF) -> bool:
    """Whether every key of the selector holds for this VF."""
    return (
        _one_of(selector.vendors, vf.vendor)
        and _one_of(selector.devices, vf.device)
        and _one_of(selector.drivers, vf.driver)
        and _one_of(selector.pci_addresses, vf.pci)
        and _listed(selector.pf_names, vf.pf_netdev, vf.index)
        and _listed(selector.root_devices, vf.pf, vf.index)
    )


def any_matches(alternatives: Iterable[Selector], vf: devices.VF) -> bool:
    """Whether one of the selectors takes this VF."""
    return any(matches(selector, vf) for selector in alternatives)


def _one_of(wanted: frozenset[str], value: str | None) -> bool:
    return not wanted or value in wanted


def _listed(wanted: tuple[Functions, ...], pf: str | None, index: int) -> bool:
    name = (pf or "").lower()
    return not wanted or any(item.pf == name and index in item for item in wanted)
