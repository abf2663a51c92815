"""Whereabouts of interfaces that policies hold for: rules name them, and root in the pod can rename and move them.

Since Linux 6.16 a chain at a device's egress leaves a device that is renamed, and is there again when it has its name.
"""

import msgspec

from sriov import errors
from sriov.attachment import netdevs
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
    _note(inner, scope, seen)
    there = {name: link(inner, index) for name, index in seen.indexes.items()}
    renamed, reason = [], ""
    for name, found in there.items():
        if found is not None and found.name != name:
            failed = _rename(inner, found, name)
            renamed += [] if failed else [(name, found.name)]
            reason = reason or failed
    missing = there.get(scope.interface, scope) is None
    seen.missed = seen.missed + 1 if missing else 0
    if seen.missed >= _LOOKS:
        reason = f"its VF {scope.interface} is not in its namespace any more: root in the pod has moved it; end the pod"
    return renamed, reason


def link(inner: kernel.Kernel, ref: kernel.LinkRef) -> kernel.Link | None:
    """Return a link of this index or name, None if there is none. All are never asked for: a pod may have made 100,000.

    The kernel also finds one by an altname, which no rule does.
    """
    found = netdevs.if_there(inner, ref)
    return found if found is not None and ref in (found.index, found.name) else None


def _note(inner: kernel.Kernel, scope: pod_policies.Scope, seen: Seen) -> None:
    if scope.interface not in seen.indexes and scope.index and link(inner, scope.index):
        seen.indexes[scope.interface] = scope.index
    for name in scope.devices:
        if name not in seen.indexes and (found := link(inner, name)):
            seen.indexes[name] = found.index


def _rename(inner: kernel.Kernel, found: kernel.Link, name: str) -> str:
    try:
        inner.rename(found.index, name)
    except errors.KernelError as error:
        return (
            f"its interface {name} was renamed to {found.name} in the pod, and does not get its name back:"
            f" {error.message}"
        )
    return ""
