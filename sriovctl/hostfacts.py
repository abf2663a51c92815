"""What else of the host touches VFs: CNI plugins and configurations, the kubelet's directories, network managers."""

import configparser
import dataclasses
import enum
import fnmatch
import json
import os
import pathlib
import re
from collections.abc import Iterator

from sriov_cni import conf, failure, policy

_OURS = b"SRIOV_CNI_SOCKET"  # the variable that both shims read
_SHIM_HEAD = 1 << 22  # bytes; the native shim has some hundred thousand


class Plugin(enum.Enum):
    """What the runtime executes as `sriov`."""

    OURS = "ours"
    MISSING = "missing"
    FOREIGN = "another program"
    NOT_EXECUTABLE = "not executable"


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """A network configuration file that names plugins of type sriov. `problem` is why ADD would refuse it."""

    file: str
    problem: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Managers:
    """Network managers that run here and have not been told to leave VFs alone.

    `claims` are files of networkd that match a VF's netdev by name, with that name.
    """

    network_manager: bool = False
    claims: tuple[tuple[str, str], ...] = ()


def plugin(folder: pathlib.Path) -> Plugin:
    path = folder / "sriov"
    try:
        with path.open("rb") as file:
            text = file.read(_SHIM_HEAD)
    except OSError:
        return Plugin.MISSING
    if _OURS not in text:
        return Plugin.FOREIGN
    return Plugin.OURS if os.access(path, os.X_OK) else Plugin.NOT_EXECUTABLE


def networks(folder: pathlib.Path) -> tuple[tuple[Network, ...], bool]:
    """Those of type sriov, and whether Multus, which takes its networks from the API server, is configured."""
    found: list[Network] = []
    multus = False
    for path in sorted([*folder.glob("*.conf"), *folder.glob("*.conflist"), *folder.glob("*.json")]):
        for network in _plugins(path):
            multus = multus or str(network.get("type", "")).startswith("multus")
            if network.get("type") == "sriov":
                found.append(Network(path.name, _problem(network)))
    return tuple(found), multus


def _plugins(path: pathlib.Path) -> Iterator[dict[str, object]]:
    """Each plugin's configuration as the runtime would pass it. A file that is no JSON is the runtime's affair."""
    try:
        whole = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return
    if not isinstance(whole, dict):
        return
    listed = whole.get("plugins", [whole])
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, dict):
            inherited = {key: whole[key] for key in ("cniVersion", "name") if key in whole}
            yield {**inherited, **each}


def _problem(network: dict[str, object]) -> str | None:
    stdin = json.dumps(network).encode()
    try:
        conf.network(stdin)
        conf.attachment(stdin, "")
    except failure.CniError as error:
        return f"{error.message}; {error.details}"
    return None


def policy_problem(path: pathlib.Path) -> str | None:
    """Why the node's policy refuses every ADD; None where it does not, or there is none."""
    try:
        policy.load(path) if path.exists() else None
    except failure.CniError as error:
        return error.message
    return None


def managers(run: pathlib.Path, etc: pathlib.Path, netdevs: list[str]) -> Managers:
    """By what runs, and what udev and the managers themselves are told. `netdevs` are the VFs' at home."""
    told = any("NM_UNMANAGED" in _text(path) for path in _files(etc, run, "udev/rules.d", "*.rules"))
    excepted = any("unmanaged-devices" in _text(path) for path in _files(etc, run, "NetworkManager", "*.conf"))
    nm = (run / "NetworkManager").is_dir() and not told and not excepted
    networkd = (run / "systemd/netif").is_dir()
    return Managers(nm, tuple(_claims(etc, run, netdevs)) if networkd else ())


def _files(etc: pathlib.Path, run: pathlib.Path, folder: str, pattern: str) -> Iterator[pathlib.Path]:
    for root in (etc / folder, run / folder):
        yield from sorted(root.rglob(pattern))


def _claims(etc: pathlib.Path, run: pathlib.Path, netdevs: list[str]) -> Iterator[tuple[str, str]]:
    """networkd takes the first file, by name, that matches a link (systemd.network(5))."""
    files = {path.name: path for path in _files(run, etc, "systemd/network", "*.network")}
    parsed = [(name, _sections(_text(path))) for name, path in sorted(files.items())]
    for netdev in netdevs:
        first = next(((name, found) for name, found in parsed if _matches(found, netdev)), None)
        if first is not None and first[1].get("Link", {}).get("Unmanaged", "").lower() not in (
            "yes",
            "true",
            "1",
            "on",
        ):
            yield first[0], netdev


def _matches(sections: dict[str, dict[str, str]], netdev: str) -> bool:
    """By name alone: a file that matches by driver or by path too is taken to mean other links."""
    match = sections.get("Match", {})
    patterns = match.get("Name", "").split()
    return set(match) == {"Name"} and any(fnmatch.fnmatchcase(netdev, each) for each in patterns)


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
