"""PFs and VFs as rows of `inventory`. Pure, except for the reading of a PF's speed.

A VF's MAC and VLAN are from the ledger, or from its netdev while it is in the host: asking the kernel would make it
list all VFs of the PF under its global lock, while pods wait for that lock.
"""

from collections.abc import Iterator

from sriov import devices
from sriov.hardware import node_devices, sysfs
from sriov.state import ledger
from sriovctl import output
from sriovctl.node import attachments, snapshot
from sriovctl.views import documents

COLUMNS = (
    output.Column("DEVICE"),
    output.Column("WHAT", leaves=6),
    output.Column("NETDEV", leaves=4),
    output.Column("DRIVER", leaves=2),
    output.Column("NUMA", leaves=1),
    output.Column("LINK", leaves=3),
    output.Column("POOL"),
    output.Column("HEALTH", leaves=9),
    output.Column("OWNER"),
    output.Column("MAC", leaves=5),
    output.Column("VLAN", leaves=7),
    output.Column("SPEED", wide=True),
    output.Column("MTU", wide=True),
    output.Column("IDS", wide=True),
    output.Column("INTERFACE", wide=True),
    output.Column("CONTAINER", wide=True),
    output.Column("WHY", leaves=8, prose=True),
)


def rows(seen: snapshot.Survey) -> list[documents.InventoryItem]:
    """Return each PF and then its VFs by index; devices without a PF come last."""
    shown = [
        one
        for one in seen.catalog.candidates.values()
        if one.role in (node_devices.Role.PF, node_devices.Role.VF) or one.id in seen.members
    ]
    return [_row(seen, one) for one in sorted(shown, key=_order)]


def _order(one: node_devices.Candidate) -> tuple[bool, str, int, str]:
    pf = one.pci if one.role is node_devices.Role.PF else one.pf
    return pf is None, pf or "", -1 if one.index is None else one.index, one.id


def _row(seen: snapshot.Survey, one: node_devices.Candidate) -> documents.InventoryItem:
    is_pf = one.role is node_devices.Role.PF
    pf = one.pci if is_pf else one.pf
    pool, member = seen.members.get(one.id, (None, None))
    held = None if is_pf else seen.held.get(one.pci)
    record = None if held is None else held.record
    netdev = seen.tree.netdev(one.pci) if one.id == one.pci else None
    return documents.InventoryItem(
        device=one.id,
        role=one.role.value,
        pf=None if is_pf else (one.pf_netdev or one.pf),
        index=one.index,
        netdev=one.netdevs[0] if one.netdevs else None,
        driver=one.driver,
        vendor_id=one.vendor,
        device_id=one.device,
        numa_node=one.numa_node,
        link_type=one.link_type.value or None,
        link=_link(seen, pf),
        speed_mbps=_speed(seen.tree, pf),
        mtu=netdev.mtu if netdev else (record.mtu if record else None),
        num_vfs=one.numvfs if is_pf else None,
        total_vfs=sysfs.integer(seen.tree.pci(one.pci) / "sriov_totalvfs") if is_pf else None,
        pool=None if pool is None else pool.resource,
        health=None if member is None else member.health.value,
        reason=_reason(seen, one, member.ailment if member else None, record),
        owner=_owner(seen, one, held),
        mac=netdev.address if netdev else attachments.mac(record),
        vlan=None if record is None else record.wanted.vlan or None,
    )


def _link(seen: snapshot.Survey, pf: devices.PciAddress | None) -> str | None:
    uplink = seen.catalog.uplinks.get(pf) if pf else None
    if uplink is None:
        return None
    return "down" if not uplink.up else {True: "up", False: "no carrier", None: "up"}[uplink.carrier]


def _speed(tree: sysfs.Tree, pf: devices.PciAddress | None) -> int | None:
    netdev = tree.netdev_name(pf) if pf else None
    found = sysfs.integer(tree.pci(pf) / "net" / netdev / "speed") if pf and netdev else None
    return found if found and found > 0 else None


def _reason(
    seen: snapshot.Survey, one: node_devices.Candidate, ailment: str | None, record: ledger.Record | None
) -> str | None:
    if ailment is not None:
        return f"it {ailment}"
    if record is not None and record.owner == ledger.UNKNOWN:
        return "its ledger record is damaged"
    if one.host_use is not None:
        return f"it carries traffic of the host: {one.host_use.text}"
    if one.role is node_devices.Role.VF and one.id not in seen.members and seen.configuration is not None:
        return "no pool takes it"
    return None


def _owner(
    seen: snapshot.Survey, one: node_devices.Candidate, held: snapshot.HeldVf | None
) -> documents.OwnerItem | None:
    namespace, _, pod = (seen.pod_of(one.id) or "").partition("/")
    if held is None:
        return documents.OwnerItem(namespace, pod, None, None, None, attached=False, attached_by=None) if pod else None
    owner = held.record.owner
    return documents.OwnerItem(
        namespace or None,
        pod or None,
        owner.container_id or None,
        owner.ifname or None,
        owner.network or None,
        attached=True,
        attached_by=held.by.value,
    )


def table(listed: list[documents.InventoryItem]) -> output.Table:
    return output.Table(COLUMNS if listed else (), [list(_cells(row)) for row in listed])


def _cells(row: documents.InventoryItem) -> Iterator[output.Cell]:
    yield output.cell(row.device)
    yield output.cell(f"PF, {row.num_vfs} of {row.total_vfs} VFs" if row.total_vfs is not None else _of(row))
    yield output.cell(row.netdev)
    yield output.cell(row.driver, output.Tone.BAD if row.driver is None else output.Tone.PLAIN)
    yield output.cell(row.numa_node)
    yield output.cell(row.link, {"up": output.Tone.GOOD, None: output.Tone.FAINT}.get(row.link, output.Tone.BAD))
    yield output.cell(row.pool)
    yield output.cell(row.health, output.Tone.GOOD if row.health == "Healthy" else output.Tone.BAD)
    yield output.cell(_shown_owner(row.owner))
    yield output.cell(row.mac)
    yield output.cell(row.vlan)
    yield output.cell(None if row.speed_mbps is None else f"{row.speed_mbps / 1000:g}G")
    yield output.cell(row.mtu)
    yield output.cell(f"{row.vendor_id}:{row.device_id}")
    yield output.cell(row.owner.interface if row.owner else None)
    yield output.cell(row.owner.container_id if row.owner else None)
    yield output.cell(row.reason, output.Tone.WARNING)


def _shown_owner(owner: documents.OwnerItem | None) -> str | None:
    if owner is None:
        return None
    return f"{owner}{foreign(owner.attached_by)}" if owner.attached else f"{owner} (no ADD yet)"


def foreign(by: str | None) -> str:
    """Return a remark on who attached a VF; "" if that is this project."""
    return f" ({by})" if by == snapshot.Attacher.PREDECESSOR.value else ""


def _of(row: documents.InventoryItem) -> str:
    return row.role if row.pf is None else f"{row.role} {row.pf}#{row.index}"
