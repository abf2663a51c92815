"""Status of an installation, in words and as an exit status. Pure."""

import enum

from sriov_installer import artifacts, files, marks, plans


class Standing(enum.IntEnum):
    """Exit statuses of `status`; also 1 for a node that cannot be read and 2 for wrong flags."""

    CURRENT = 0
    ABSENT = 3
    OTHER = 4


def standing(wanted: tuple[artifacts.Artefact, ...], there: plans.Findings) -> Standing:
    """Return ABSENT if nothing is ours, OTHER if it is not exactly what this version installs."""
    wanted = tuple(each for each in wanted if not plans.is_foreign_completion(each, there[each.path]))
    found = [there[each.path] for each in wanted]
    if not any(plans.is_ours(each) for each in found):
        return Standing.ABSENT
    return Standing.CURRENT if all(map(_as_wanted, wanted, found)) else Standing.OTHER


def lines(wanted: tuple[artifacts.Artefact, ...], there: plans.Findings) -> list[str]:
    """Return a line for each file; completions have one together, unless one is not as it should be."""
    completions = [each for each in wanted if artifacts.is_completion(each)]
    alike = bool(completions) and all(_as_wanted(each, there[each.path]) for each in completions)
    listed = [each for each in wanted if not (alike and each in completions)]
    told = [f"{each.path}: {_what(each, there[each.path])}" for each in listed]
    told += (
        [f"completions for {', '.join(artifacts.SHELLS)}: {_what(completions[0], there[completions[0].path])}"]
        if alike
        else []
    )
    kept = [files.backup(each.path) for each in wanted if there[files.backup(each.path)] is not None]
    return told + [f"{each}: what was there before; uninstall puts it back" for each in kept]


def _what(wanted: artifacts.Artefact, found: files.Found | None) -> str:
    if found is None:
        return "absent"
    by = None if found.content is None else marks.version_of(found.content)
    if found.content is None or by is None:
        return "not of sriov-underlay"
    return f"{_kind(wanted, found.content)} of version {by}, {_difference(wanted, found)}"


def _kind(wanted: artifacts.Artefact, content: bytes) -> str:
    if artifacts.is_completion(wanted):
        return "completion"
    if wanted.path.name not in artifacts.PLUGINS:
        return {
            artifacts.RULES: "udev rules",
            artifacts.NETWORK: "networkd file",
            "sriov-cni-services.conf": "part of a unit",
        }.get(wanted.path.name, "unit")
    return "native shim" if artifacts.is_native(content) else "Python shim"


def _difference(wanted: artifacts.Artefact, found: files.Found) -> str:
    same = f"as version {marks.version()} installs it"
    return same if _as_wanted(wanted, found) else f"not {same}; `sriov-underlay install` makes it so"


def _as_wanted(wanted: artifacts.Artefact, found: files.Found | None) -> bool:
    return found is not None and (found.content, found.mode) == (wanted.content, wanted.mode)
