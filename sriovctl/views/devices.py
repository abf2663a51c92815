"""PFs and VFs as rows of `inventory`. Pure, except for the reading of a PF's speed.

A VF's MAC and VLAN are from the ledger, or from its netdev while it is in the host: asking the kernel would make it
list all VFs of the PF under its global lock, while pods wait for that lock.
"""

from collections.abc import Iterator

import msgspec

from sriov import devices, settings
from sriov.hardware import node_devices, sysfs
from sriov.state import ledger
from sriovctl import output
from sriovctl.node import snapshot
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


class VfOwner(msgspec.Struct, frozen=True):
    """Owner of a VF. `pod` is namespace/name, if known; `attached` is false if the kubelet has given the device and no
    ADD has come."""

    pod: str | None
    container_id: str
    interface: str
    network: str
    attached: bool

    def __str__(self) -> str:
        return self.pod or (f"container {self.container_id[:12]}" if self.container_id else "unknown")


class Row(msgspec.Struct, frozen=True):
    """One PF or VF. `link` is up, down, no carrier or None; `health` is the kubelet's word, None outside of pools.

    `netdev` is None while the VF is in a pod, or if it has none. `speed` in Mbit/s, of the PF. `vfs` and `most` are
    how many VFs a PF has and can have.
    """

    pci: str
    role: str
    pf: str | None
    index: int | None
    netdev: str | None
    driver: str | None
    vendor: str
    device: str
    numa_node: int | None
    link_type: str
    link: str | None
    speed: int | None
    mtu: int | None
    vfs: int | None
    most: int | None
    pool: str | None
    health: str | None
    reason: str | None
    owner: VfOwner | None
    mac: str | None
    vlan: int | None


def rows(seen: snapshot.Survey) -> list[Row]:
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


def _row(seen: snapshot.Survey, one: node_devices.Candidate) -> Row:
    is_pf = one.role is node_devices.Role.PF
    pf = one.pci if is_pf else one.pf
    pool, member = seen.members.get(one.id, (None, None))
    held = None if is_pf else seen.held.get(one.pci)
    record = None if held is None else held.record
    netdev = seen.tree.netdev(one.pci) if one.id == one.pci else None
    return Row(
        pci=one.id,
        role=one.role.value,
        pf=None if is_pf else (one.pf_netdev or one.pf),
        index=one.index,
        netdev=one.netdevs[0] if one.netdevs else None,
        driver=one.driver,
        vendor=one.vendor,
        device=one.device,
        numa_node=one.numa_node,
        link_type=one.link_type.value,
        link=_link(seen, pf),
        speed=_speed(seen.tree, pf),
        mtu=netdev.mtu if netdev else (record.mtu if record else None),
        vfs=one.numvfs if is_pf else None,
        most=sysfs.integer(seen.tree.pci(one.pci) / "sriov_totalvfs") if is_pf else None,
        pool=None if pool is None else pool.resource,
        health=None if member is None else member.health.value,
        reason=_reason(seen, one, member.ailment if member else None, record),
        owner=_owner(seen, one, record),
        mac=netdev.address if netdev else mac(record),
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


def _owner(seen: snapshot.Survey, one: node_devices.Candidate, record: ledger.Record | None) -> VfOwner | None:
    pod = seen.pod_of(one.id)
    if record is not None:
        owner = record.owner
        return VfOwner(pod, owner.container_id, owner.ifname, owner.network, attached=True)
    return None if pod is None else VfOwner(pod, "", "", "", attached=False)


def mac(record: ledger.Record | None) -> str | None:
    """Return the address that a VF has in its pod."""
    if record is None:
        return None
    if record.wanted.mac != settings.NO_MAC:
        return record.wanted.mac
    return record.home.address if record.home else None


def item(row: Row) -> documents.InventoryItem:
    """Return the item for programs."""
    return documents.InventoryItem(
        device=row.pci,
        role=row.role,
        pf=row.pf,
        index=row.index,
        netdev=row.netdev,
        driver=row.driver,
        vendor_id=row.vendor,
        device_id=row.device,
        numa_node=row.numa_node,
        link_type=row.link_type or None,
        link=row.link,
        speed_mbps=row.speed,
        mtu=row.mtu,
        num_vfs=row.vfs,
        total_vfs=row.most,
        pool=row.pool,
        health=row.health,
        reason=row.reason,
        owner=None if row.owner is None else _owner_item(row.owner),
        mac=row.mac,
        vlan=row.vlan,
    )


def _owner_item(owner: VfOwner) -> documents.OwnerItem:
    namespace, _, pod = (owner.pod or "").partition("/")
    return documents.OwnerItem(
        namespace=namespace or None,
        pod=pod or None,
        container_id=owner.container_id or None,
        interface=owner.interface or None,
        network=owner.network or None,
        attached=owner.attached,
    )


def table(listed: list[Row]) -> output.Table:
    return output.Table(COLUMNS if listed else (), [list(_cells(row)) for row in listed])


def _cells(row: Row) -> Iterator[output.Cell]:
    yield output.cell(row.pci)
    yield output.cell(f"PF, {row.vfs} of {row.most} VFs" if row.most is not None else _of(row))
    yield output.cell(row.netdev)
    yield output.cell(row.driver, output.Tone.BAD if row.driver is None else output.Tone.PLAIN)
    yield output.cell(row.numa_node)
    yield output.cell(row.link, {"up": output.Tone.GOOD, None: output.Tone.FAINT}.get(row.link, output.Tone.BAD))
    yield output.cell(row.pool)
    yield output.cell(row.health, output.Tone.GOOD if row.health == "Healthy" else output.Tone.BAD)
    yield output.cell(row.owner if row.owner is None or row.owner.attached else f"{row.owner} (no ADD yet)")
    yield output.cell(row.mac)
    yield output.cell(row.vlan)
    yield output.cell(None if row.speed is None else f"{row.speed / 1000:g}G")
    yield output.cell(row.mtu)
    yield output.cell(f"{row.vendor}:{row.device}")
    yield output.cell(row.owner.interface if row.owner else None)
    yield output.cell(row.owner.container_id if row.owner else None)
    yield output.cell(row.reason, output.Tone.WARNING)


def _of(row: Row) -> str:
    return row.role if row.pf is None else f"{row.role} {row.pf}#{row.index}"
