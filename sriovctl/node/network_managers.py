"""NetworkManager and systemd-networkd of this host: whether they have VFs, or would take VFs that come back.

Known from the files that they write and those that configure them and udev. Neither is asked: that would need their
bus.
"""

import configparser
import fnmatch
import pathlib
import re
from collections.abc import Iterator, Sequence

import msgspec

from sriov.hardware import sysfs

_MARK = "SRIOV_VF=1"  # the property that 70-sriov-vfs.rules gives a VF, and 00-sriov-vfs.network matches
_ANY_CARD = {"Type": "ether", "Kind": "!*"}  # as systemd's own examples have it
_YES = ("yes", "true", "1", "on")


class Managers(msgspec.Struct, frozen=True):
    """Network managers that run here and are not configured to leave VFs alone.

    `held` are netdevs of VFs that NetworkManager manages, even if it has been configured otherwise since. `claims` are
    files of networkd that match a VF's netdev, with its name.
    """

    network_manager: bool = False
    held: tuple[str, ...] = ()
    claims: tuple[tuple[str, str], ...] = ()


def read(run: pathlib.Path, etc: pathlib.Path, netdevs: Sequence[sysfs.Netdev]) -> Managers:
    """Read which managers run, and how udev and they are configured. `netdevs` are those of VFs in the host."""
    rules = [_text(path) for path in _files(etc, run, "udev/rules.d", "*.rules")]
    told = any("NM_UNMANAGED" in each for each in rules)
    excepted = any("unmanaged-devices" in _text(path) for path in _files(etc, run, "NetworkManager", "*.conf"))
    nm = (run / "NetworkManager").is_dir() and not told and not excepted
    held = tuple(netdev.name for netdev in netdevs if _is_held(run, netdev))
    marked = any(_MARK.partition("=")[0] in each for each in rules)
    claims = _claims(etc, run, netdevs, marked) if (run / "systemd/netif").is_dir() else ()
    return Managers(nm, held, tuple(claims))


def _is_held(run: pathlib.Path, netdev: sysfs.Netdev) -> bool:
    """Report whether NetworkManager manages it, by the file that it keeps of each netdev for its own restart
    (nm_manager_write_device_state() in src/core/nm-manager.c)."""
    noted = _sections(_text(run / f"NetworkManager/devices/{netdev.index}"))
    return noted.get("device", {}).get("managed") == "true"


def _files(etc: pathlib.Path, run: pathlib.Path, folder: str, pattern: str) -> Iterator[pathlib.Path]:
    for root in (etc / folder, run / folder):
        yield from sorted(root.rglob(pattern))


def _claims(
    etc: pathlib.Path, run: pathlib.Path, netdevs: Sequence[sysfs.Netdev], marked: bool
) -> Iterator[tuple[str, str]]:
    """Yield the files that claim VFs: networkd takes the first file, by name, that matches (systemd.network(5))."""
    files = {path.name: path for path in _files(run, etc, "systemd/network", "*.network")}
    parsed = [(name, _sections(_text(path))) for name, path in sorted(files.items())]
    for netdev in netdevs:
        first = next(((name, found) for name, found in parsed if _matches(found, netdev.name, marked)), None)
        if first is not None and first[1].get("Link", {}).get("Unmanaged", "").lower() not in _YES:
            yield first[0], netdev.name


def _matches(sections: dict[str, dict[str, str]], netdev: str, marked: bool) -> bool:
    """Report whether a file matches by name, as any network card, or by the mark of our udev rules, if there are any. A
    file that also matches by anything else, a driver or a path, is taken to mean other links."""
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
