"""Attachments as a table, and as the items of a JSON or YAML document. Pure."""

import datetime

from sriovctl import output
from sriovctl.node import attachments
from sriovctl.views import devices, documents

COLUMNS = (
    output.Column("DEVICE"),
    output.Column("STATE"),
    output.Column("POD"),
    output.Column("INTERFACE", leaves=4),
    output.Column("NETWORK", leaves=1),
    output.Column("SINCE", leaves=2),
    output.Column("VLAN", leaves=5),
    output.Column("MAC", leaves=3),
    output.Column("CONTAINER", wide=True),
    output.Column("NAMESPACE", wide=True),
    output.Column("HOST NAME", wide=True),
)


def table(found: list[attachments.ListedAttachment]) -> output.Table:
    return output.Table(COLUMNS if found else (), [_cells(each) for each in found])


def _cells(one: attachments.ListedAttachment) -> list[output.Cell]:
    record, owner = one.record, one.record.owner
    tone = output.Tone.GOOD if one.state is attachments.State.ATTACHED else output.Tone.BAD
    return [
        output.cell(record.pci),
        output.cell(f"{one.state.value}{devices.foreign(one.by.value)}", tone),
        output.cell(one.pod or (f"container {owner.container_id[:12]}" if owner.container_id else None)),
        output.cell(owner.ifname),
        output.cell(owner.network),
        output.cell(_time(one.since)),
        output.cell(record.wanted.vlan or None),
        output.cell(attachments.mac(record)),
        output.cell(owner.container_id),
        output.cell(owner.netns),
        output.cell(record.home.name if record.home else None),
    ]


def item(one: attachments.ListedAttachment) -> documents.AttachmentsItem:
    """Return the item for programs."""
    record, owner = one.record, one.record.owner
    namespace, _, pod = (one.pod or "").partition("/")
    return documents.AttachmentsItem(
        device=record.pci,
        state=one.state.value,
        namespace=namespace or None,
        pod=pod or None,
        container_id=owner.container_id or None,
        interface=owner.ifname or None,
        network=owner.network or None,
        netns=owner.netns or None,
        since=_time(one.since),
        mac=attachments.mac(record),
        vlan=record.wanted.vlan or None,
        host_name=record.home.name if record.home else None,
        held_by_pod=one.kubelet,
        attached_by=one.by.value,
    )


def _time(since: float | None) -> str | None:
    """Format a time: RFC 3339, in UTC, to the second."""
    if since is None:
        return None
    return datetime.datetime.fromtimestamp(since, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
