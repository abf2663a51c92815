"""Whereabouts of interfaces that policies hold for: rules name them, and root in the pod can rename and move them.

Since Linux 6.16 a chain at a device's egress leaves a device that is renamed, and is there again when it has its name.
"""

import msgspec

from sriov import errors
from sriov.cluster import pod_policies
from sriov.linux import kernel

_LOOKS = 2
"""How often in a row the VF must be missing: a DEL takes it a moment before the attachment ends."""


class Seen(msgspec.Struct):
    """Each interface's index by the name that it has to have, and how often in a row the VF was not there."""

    indexes: dict[str, int] = {}
    missed: int = 0


def unseen(driver: str) -> str:
    """Return why the policy of a VF with this userspace driver is not in force."""
    return (
        f"the kernel sees no packet of its VF, which has the userspace driver {driver}:"
        " end the pod, or have no policy select it"
    )


def look(inner: kernel.Kernel, scope: pod_policies.Scope, seen: Seen) -> tuple[list[tuple[str, str]], str]:
    """Give interfaces that were renamed their names back, and note those that are seen for the first time.

    Returns these names, each with the one that it had, and why rules do not meet the VF, "" if they do.
    """
    there = {each.index: each.name for each in inner.links()}
    if scope.index in there:
        seen.indexes.setdefault(scope.interface, scope.index)
    for index, name in there.items():
        if name in scope.devices:
            seen.indexes.setdefault(name, index)
    renamed, reason = [], ""
    for name, index in seen.indexes.items():
        was = there.get(index, name)
        if was != name:
            failed = _rename(inner, index, name, was)
            renamed += [] if failed else [(name, was)]
            reason = reason or failed
    missing = scope.interface in seen.indexes and seen.indexes[scope.interface] not in there
    seen.missed = seen.missed + 1 if missing else 0
    if seen.missed >= _LOOKS:
        reason = f"its VF {scope.interface} is not in its namespace any more: root in the pod has moved it; end the pod"
    return renamed, reason


def _rename(inner: kernel.Kernel, index: int, name: str, was: str) -> str:
    try:
        inner.rename(index, name)
    except errors.KernelError as error:
        return f"its interface {name} was renamed to {was} in the pod, and does not get its name back: {error.message}"
    return ""
