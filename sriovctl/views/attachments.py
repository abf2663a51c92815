"""Attachments as a table, and as the items of a JSON or YAML document. Pure."""

import datetime
from collections.abc import Sequence

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


def table(found: Sequence[documents.AttachmentsItem]) -> output.Table:
    return output.Table(COLUMNS if found else (), [_cells(each) for each in found])


def _cells(one: documents.AttachmentsItem) -> list[output.Cell]:
    tone = output.Tone.GOOD if one.state == attachments.State.ATTACHED.value else output.Tone.BAD
    container = f"container {one.container_id[:12]}" if one.container_id else None
    return [
        output.cell(one.device),
        output.cell(f"{one.state}{devices.foreign(one.attached_by)}", tone),
        output.cell(f"{one.namespace}/{one.pod}" if one.pod else container),
        output.cell(one.interface),
        output.cell(one.network),
        output.cell(one.since),
        output.cell(one.vlan),
        output.cell(one.mac),
        output.cell(one.container_id),
        output.cell(one.netns),
        output.cell(one.host_name),
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
