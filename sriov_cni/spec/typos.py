"""Unknown keys of a network configuration: most are for other programs, some are misspelt. Pure."""

import difflib
from collections.abc import Iterable

# What the CNI spec, libcni, Multus and IPAM put there; `pciBusID` comes from Multus.
_FOREIGN = frozenset(
    {"cniVersion", "name", "type", "capabilities", "args", "dns", "ipMasq", "runtimeConfig", "prevResult", "plugins"}
    | {"pciBusID", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "cniVersions"}
)
LOGGING = frozenset({"logFile", "logLevel"})
"""Keys of sriov-cni's log. sriov-network-operator writes them into networks, so `sriovctl check` tells, and no ADD."""
_CLOSE = 0.75


def warnings(given: Iterable[str], known: frozenset[str]) -> tuple[str, ...]:
    """Return one line for each key that is ignored and should not go unnoticed."""
    lines = []
    for key in given:
        if key in known or key in _FOREIGN or key.startswith("cni.dev/"):
            continue
        if key in LOGGING:
            lines.append(f"key {key!r} is ignored: the daemon's own options configure its log")
            continue
        by_spelling = {each.replace("_", "").lower(): each for each in known}
        spelling = key.replace("-", "").replace("_", "").lower()
        close = difflib.get_close_matches(spelling, by_spelling, 1, _CLOSE)
        meant = f"; did you mean {by_spelling[close[0]]!r}?" if close else ""
        lines.append(f"key {key!r} is not known and is ignored{meant}")
    return tuple(lines)
