"""Attachments as the ledger has them, and in which state each is by what can be seen from here. Pure but for stat().

Nothing here enters a namespace or holds one: whether a namespace is the one that the VF went to is told by device and
inode of its path, as the ledger has them.
"""

import dataclasses
import datetime
import enum
import os

from sriov import ledger
from sriovctl import devicerows, output, survey


class State(enum.Enum):
    """The value is what is shown; `meaning` is for people and for docs/sriovctl.md."""

    ATTACHED = "attached"
    LEFT_BEHIND = "left behind"
    NO_NAMESPACE = "no namespace"
    DEVICE_GONE = "device gone"
    UNKNOWN_OWNER = "unknown owner"

    @property
    def meaning(self) -> str:
        return _MEANING[self]


_MEANING = {
    State.ATTACHED: "the VF is with its pod",
    State.LEFT_BEHIND: "its pod is gone without a DEL and the VF is in the host, not clean yet; the daemon is at it",
    State.NO_NAMESPACE: "the path that the runtime named leads to no namespace any more, or to another; the pod may "
    "be gone, or a process keeps its namespace alive",
    State.DEVICE_GONE: "the PCI device is gone or is another one by now",
    State.UNKNOWN_OWNER: "the ledger record is damaged: nobody knows who has the VF",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Attachment:
    """`since` in seconds since 1970; `kubelet` is the pod that the kubelet says has the device now, None for none."""

    record: ledger.Record
    state: State
    since: float | None
    pod: str | None
    kubelet: str | None


def listed(seen: survey.Survey) -> list[Attachment]:
    """In PCI order."""
    return [_attachment(seen, held) for _, held in sorted(seen.held.items())]


def _attachment(seen: survey.Survey, held: survey.Held) -> Attachment:
    record = held.record
    holder = seen.told.holders.get(record.pci)
    by_call = seen.pod_of_container(record.owner.container_id)
    kubelet = None if holder is None else str(holder)
    return Attachment(record, state(seen, record), held.since, by_call or kubelet, kubelet)


def state(seen: survey.Survey, record: ledger.Record) -> State:
    """What can be seen of it."""
    one = seen.catalog.candidates.get(record.pci)
    if one is None or record.device not in (0, seen.tree.birth(record.pci)):
        return State.DEVICE_GONE
    if record.owner == ledger.UNKNOWN:
        return State.UNKNOWN_OWNER
    if record.home is not None and one.netdevs:
        return State.LEFT_BEHIND
    return State.ATTACHED if _is_there(record) else State.NO_NAMESPACE


def _is_there(record: ledger.Record) -> bool:
    try:
        found = os.stat(record.owner.netns)  # noqa: PTH116 (device and inode)
    except (OSError, ValueError):
        return False
    return (found.st_dev, found.st_ino) == record.netns


COLUMNS = (
    output.Column("DEVICE"),
    output.Column("STATE"),
    output.Column("POD"),
    output.Column("INTERFACE"),
    output.Column("NETWORK"),
    output.Column("SINCE"),
    output.Column("VLAN"),
    output.Column("MAC"),
    output.Column("CONTAINER", wide=True),
    output.Column("NAMESPACE", wide=True),
    output.Column("HOST NAME", wide=True),
)


def table(found: list[Attachment]) -> output.Table:
    return output.Table(COLUMNS, [_cells(each) for each in found])


def _cells(one: Attachment) -> list[output.Cell]:
    record, owner = one.record, one.record.owner
    tone = output.Tone.GOOD if one.state is State.ATTACHED else output.Tone.BAD
    return [
        output.cell(record.pci),
        output.cell(one.state.value, tone),
        output.cell(one.pod or (f"container {owner.container_id[:12]}" if owner.container_id else None)),
        output.cell(owner.ifname),
        output.cell(owner.network),
        output.cell(_time(one.since)),
        output.cell(record.wanted.vlan or None),
        output.cell(devicerows.mac(record)),
        output.cell(owner.container_id),
        output.cell(owner.netns),
        output.cell(record.home.name if record.home else None),
    ]


def item(one: Attachment) -> dict[str, object]:
    """What programs get of it. docs/sriovctl.md has the keys."""
    record, owner = one.record, one.record.owner
    namespace, _, pod = (one.pod or "").partition("/")
    return {
        "device": record.pci,
        "state": one.state.value,
        "namespace": namespace or None,
        "pod": pod or None,
        "containerId": owner.container_id or None,
        "interface": owner.ifname or None,
        "network": owner.network or None,
        "netns": owner.netns or None,
        "since": _time(one.since),
        "mac": devicerows.mac(record),
        "vlan": record.wanted.vlan or None,
        "hostName": record.home.name if record.home else None,
        "heldByPod": one.kubelet,
    }


def _time(since: float | None) -> str | None:
    """RFC 3339, in UTC, to the second."""
    if since is None:
        return None
    return datetime.datetime.fromtimestamp(since, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
