"""Networks of the node that a claim may name: the runtime's configuration files, as far as they are for our CNI plugin.

A file is a network configuration (`.conf`, `.json`) or a list of them (`.conflist`), as libcni reads them.
"""

import json
import pathlib
from typing import Any

_SUFFIXES = (".conf", ".json", ".conflist")
_TYPE = "sriov"


class NodeNetworks:
    """The files of a folder, read whenever a claim names a network: that is seldom, and they may change."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def named(self, name: Any) -> dict[str, Any]:
        """Return the plugin's configuration in the network of this name. Raises LookupError."""
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            found = _read(path) if path.suffix in _SUFFIXES else {}
            if found.get("name") == name:
                return _ours(found, path)
        raise LookupError(f"there is none of this name in {self._folder}")


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}  # the runtime passes over it too
    return found if isinstance(found, dict) else {}


def _ours(network: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
    plugins = network.get("plugins", [network])
    for each in plugins if isinstance(plugins, list) else ():
        if isinstance(each, dict) and each.get("type") == _TYPE:
            return {**each, "name": network["name"]}
    raise LookupError(f"{path} has no plugin of type {_TYPE}")
