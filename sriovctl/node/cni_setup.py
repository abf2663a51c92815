"""CNI setup of the host: plugins, network configurations, the node's policy."""

import enum
import json
import os
import pathlib
from collections.abc import Iterator

import msgspec

from sriov_cni.context import policy_rules
from sriov_cni.spec import cni_errors, environment, netconf, vf_request

TYPES = ("sriov", "ib-sriov")
"""Types of networks that are this plugin's: its own, and ib-sriov-cni's where the shim has that name, too."""
_OURS = b"SRIOV_CNI_SOCKET"  # the variable that both shims read
_SHIM_HEAD = 1 << 22  # bytes; the native shim has some hundred thousand


class InstalledPlugin(enum.Enum):
    """Program that the runtime executes by the name of one of our types."""

    OURS = "ours"
    MISSING = "missing"
    FOREIGN = "another program"
    NOT_EXECUTABLE = "not executable"


class NetworkFile(msgspec.Struct, frozen=True):
    """A configuration file of a network with a plugin of ours. `problem` is why ADD would refuse it."""

    file: str
    problem: str | None = None


def installed(folder: pathlib.Path) -> dict[str, InstalledPlugin]:
    """Return what the runtime executes for networks of each of our types."""
    return {each: plugin(folder, each) for each in TYPES}


def plugin(folder: pathlib.Path, name: str = "sriov") -> InstalledPlugin:
    path = folder / name
    try:
        with path.open("rb") as file:
            text = file.read(_SHIM_HEAD)
    except OSError:
        return InstalledPlugin.MISSING
    if _OURS not in text:
        return InstalledPlugin.FOREIGN
    return InstalledPlugin.OURS if os.access(path, os.X_OK) else InstalledPlugin.NOT_EXECUTABLE


def networks(folder: pathlib.Path) -> tuple[tuple[NetworkFile, ...], bool]:
    """Return networks of our types, and whether Multus is configured, which reads networks from the API server."""
    found: list[NetworkFile] = []
    multus = False
    for path in sorted([*folder.glob("*.conf"), *folder.glob("*.conflist"), *folder.glob("*.json")]):
        for network in _plugins(path):
            multus = multus or str(network.get("type", "")).startswith("multus")
            if network.get("type") in TYPES:
                found.append(NetworkFile(path.name, problem(document(network))))
    return tuple(found), multus


def _plugins(path: pathlib.Path) -> Iterator[dict[str, object]]:
    """Yield each plugin's configuration as the runtime would pass it. A file that is no JSON is skipped."""
    try:
        whole = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return
    yield from plugins(whole)


def plugins(whole: object) -> Iterator[dict[str, object]]:
    """Yield the plugins' configurations of a network's file."""
    if not isinstance(whole, dict):
        return
    listed = whole.get("plugins", [whole])
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, dict):
            inherited = {key: whole[key] for key in ("cniVersion", "name") if key in whole}
            yield {**inherited, **each}


def document(network: dict[str, object]) -> netconf.Document:
    """Return the configuration as the daemon reads it."""
    return netconf.decode(json.dumps(network).encode())


def problem(document: netconf.Document) -> str | None:
    """Return why ADD would refuse this configuration; None if it would not."""
    try:
        netconf.network(document)
        vf_request.read(document, environment.Arguments())
    except cni_errors.CniError as error:
        return f"{error.message}; {error.details}"
    return None


def policy_problem(path: pathlib.Path) -> str | None:
    """Return why the node's policy cannot be used; None if it can, or there is none."""
    try:
        policy_rules.load(path) if path.exists() else None
    except cni_errors.CniError as error:
        return error.message
    return None
