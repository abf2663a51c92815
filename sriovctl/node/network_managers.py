"""Whether NetworkManager or systemd-networkd of this host has VFs, or would take them when they come home.

By what they write down and by what they and udev are told, in files. Neither is asked: that would need their bus.
"""

import configparser
import dataclasses
import fnmatch
import pathlib
import re
from collections.abc import Iterator, Sequence

from sriov.hardware import sysfs

_MARK = "SRIOV_VF=1"  # what 70-sriov-vfs.rules tells udev of a VF, and 00-sriov-vfs.network matches
_ANY_CARD = {"Type": "ether", "Kind": "!*"}  # as systemd's own examples have it
_YES = ("yes", "true", "1", "on")


@dataclasses.dataclass(frozen=True, slots=True)
class Managers:
    """Network managers that run here and have not been told to leave VFs alone.

    `held` are netdevs of VFs that NetworkManager manages, whatever it was told since. `claims` are files of networkd
    that match a VF's netdev, with its name.
    """

    network_manager: bool = False
    held: tuple[str, ...] = ()
    claims: tuple[tuple[str, str], ...] = ()


def read(run: pathlib.Path, etc: pathlib.Path, netdevs: Sequence[sysfs.Netdev]) -> Managers:
    """By what runs, and what udev and the managers themselves are told. `netdevs` are the VFs' at home."""
    rules = [_text(path) for path in _files(etc, run, "udev/rules.d", "*.rules")]
    told = any("NM_UNMANAGED" in each for each in rules)
    excepted = any("unmanaged-devices" in _text(path) for path in _files(etc, run, "NetworkManager", "*.conf"))
    nm = (run / "NetworkManager").is_dir() and not told and not excepted
    held = tuple(netdev.name for netdev in netdevs if _is_held(run, netdev))
    marked = any(_MARK.partition("=")[0] in each for each in rules)
    claims = _claims(etc, run, netdevs, marked) if (run / "systemd/netif").is_dir() else ()
    return Managers(nm, held, tuple(claims))


def _is_held(run: pathlib.Path, netdev: sysfs.Netdev) -> bool:
    """By the note that NetworkManager keeps of each netdev, for itself when it is started again
    (nm_manager_write_device_state() in src/core/nm-manager.c)."""
    noted = _sections(_text(run / f"NetworkManager/devices/{netdev.index}"))
    return noted.get("device", {}).get("managed") == "true"


def _files(etc: pathlib.Path, run: pathlib.Path, folder: str, pattern: str) -> Iterator[pathlib.Path]:
    for root in (etc / folder, run / folder):
        yield from sorted(root.rglob(pattern))


def _claims(
    etc: pathlib.Path, run: pathlib.Path, netdevs: Sequence[sysfs.Netdev], marked: bool
) -> Iterator[tuple[str, str]]:
    """networkd takes the first file, by name, that matches a link (systemd.network(5))."""
    files = {path.name: path for path in _files(run, etc, "systemd/network", "*.network")}
    parsed = [(name, _sections(_text(path))) for name, path in sorted(files.items())]
    for netdev in netdevs:
        first = next(((name, found) for name, found in parsed if _matches(found, netdev.name, marked)), None)
        if first is not None and first[1].get("Link", {}).get("Unmanaged", "").lower() not in _YES:
            yield first[0], netdev.name


def _matches(sections: dict[str, dict[str, str]], netdev: str, marked: bool) -> bool:
    """By name, as any network card, or by the mark of our udev rules, where there are any. A file that matches by
    anything else too, a driver or a path, is taken to mean other links."""
    match = sections.get("Match", {})
    if match == {"Property": _MARK}:
        return marked
    names = match.get("Name", "*").split()
    rest = {key: value for key, value in match.items() if key != "Name"}
    fits = bool(match) and rest.items() <= _ANY_CARD.items()
    return fits and any(fnmatch.fnmatchcase(netdev, each) for each in names)


def _sections(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return {name: {key: value or "" for key, value in parser.items(name)} for name in parser.sections()}


def _text(path: pathlib.Path) -> str:
    try:
        return re.sub(r"^\s*#.*$", "", path.read_text(errors="replace"), flags=re.MULTILINE)
    except OSError:
        return ""
