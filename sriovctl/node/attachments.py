"""Attachments in the ledger, each with the state that can be seen from outside. Pure, except for stat().

Nothing here enters a namespace or holds one: a namespace is the one that the VF went to if device and inode of its path
are those in the ledger.
"""

import enum
import os

import msgspec

from sriov import settings
from sriov.state import ledger
from sriovctl.node import snapshot


class State(enum.Enum):
    """State of an attachment. The value is what is shown; `meaning` is for people and for docs/sriovctl.md."""

    ATTACHED = "attached"
    LEFT_BEHIND = "left behind"
    NO_NAMESPACE = "no namespace"
    DEVICE_GONE = "device gone"
    UNKNOWN_OWNER = "unknown owner"
    UNSEEN = "unseen"

    @property
    def meaning(self) -> str:
        return _MEANING[self]


_MEANING = {
    State.ATTACHED: "the VF is with its pod",
    State.LEFT_BEHIND: "its pod is gone without a DEL and the VF is in the host, not clean yet; the daemon works on it",
    State.NO_NAMESPACE: "the path that the runtime named leads to no namespace any more, or to another; the pod may "
    "be gone, or a process keeps its namespace alive",
    State.DEVICE_GONE: "the PCI device is gone or is another one by now",
    State.UNKNOWN_OWNER: "the ledger record is damaged: nobody knows who has the VF",
    State.UNSEEN: "the path that the runtime named cannot be seen from this container; ask sriovctl on the node itself",
}


class ListedAttachment(msgspec.Struct, frozen=True):
    """`since` in seconds since 1970; `kubelet` is the pod that has the device by the kubelet's report, or None; `by` is
    the program that attached it."""

    record: ledger.Record
    state: State
    since: float | None
    pod: str | None
    kubelet: str | None
    by: snapshot.Attacher = snapshot.Attacher.OURS


def listed(seen: snapshot.Survey) -> list[ListedAttachment]:
    """Return the attachments in PCI order."""
    return [_attachment(seen, held) for _, held in sorted(seen.held.items())]


def _attachment(seen: snapshot.Survey, held: snapshot.HeldVf) -> ListedAttachment:
    record = held.record
    holder = seen.told.holders.get(record.pci)
    by_call = seen.pod_of_container(record.owner.container_id)
    kubelet = None if holder is None else str(holder)
    return ListedAttachment(record, state(seen, held), held.since, by_call or kubelet, kubelet, held.by)


def state(seen: snapshot.Survey, held: snapshot.HeldVf) -> State:
    """Return the state of the record's VF."""
    record = held.record
    one = seen.catalog.candidates.get(record.pci)
    if one is None or record.device not in (0, seen.tree.birth(record.pci)):
        return State.DEVICE_GONE
    if record.owner == ledger.UNKNOWN:
        return State.UNKNOWN_OWNER
    if record.home is not None and one.netdevs:
        return State.LEFT_BEHIND
    if not seen.sight.sees_namespace(record.owner.netns):
        return State.UNSEEN
    return State.ATTACHED if _is_there(held) else State.NO_NAMESPACE


def mac(record: ledger.Record | None) -> str | None:
    """Return the address that a VF has in its pod."""
    if record is None:
        return None
    if record.wanted.mac != settings.NO_MAC:
        return record.wanted.mac
    return record.home.address if record.home else None


def _is_there(held: snapshot.HeldVf) -> bool:
    """sriov-cni wrote no identity of the namespace down, and its older versions no path: the VF is somewhere."""
    record = held.record
    if held.by is snapshot.Attacher.PREDECESSOR:
        return not record.owner.netns or os.path.exists(record.owner.netns)  # noqa: PTH110 (as os.stat below)
    try:
        found = os.stat(record.owner.netns)  # noqa: PTH116 (device and inode)
    except (OSError, ValueError):
        return False
    return (found.st_dev, found.st_ino) == record.netns
