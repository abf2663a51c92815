"""Snapshot of the node for one moment: the devices that are published for claims, and what ails each. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from sriov.hardware import node_devices
from sriov.pools import assignment, health, resources
from sriov_dra.publishing import attributes, slicing


class NodeSnapshot(msgspec.Struct, frozen=True):
    """`pools` are by the name that they are published under; `devices` by pool and device name."""

    catalog: node_devices.Catalog
    now: health.Conditions
    pools: Mapping[str, assignment.Pool]
    devices: Mapping[tuple[str, str], assignment.Device]

    def ailments(self, pool: str, device: assignment.Device) -> list[health.Ailment]:
        return assignment.ailments(self.pools[pool].settings, device.facts, self.now)

    def slices(self, node: str, driver: str, *, with_taints: bool) -> tuple[slicing.PoolSlices, ...]:
        return slicing.pools(node, driver, list(self.pools.values()), self.now, with_taints=with_taints)

    def why_not(self, pool: str, device: str) -> str:
        """Return why a pool that the scheduler chose from has no such device now."""
        if pool not in self.pools:
            return f"this node has no pool {pool!r}"
        found = next((one for one in self.catalog.candidates.values() if attributes.name(one.id) == device), None)
        why = None if found is None else assignment.why_not(self.pools[pool].settings, found, self.now)
        return f"pool {pool!r} has no device {device!r}: {why or 'there is no such device any more'}"


def taken(
    node: str, catalog: node_devices.Catalog, now: health.Conditions, dealt: Sequence[assignment.Pool]
) -> NodeSnapshot:
    """Return the snapshot, of all pools of the node."""
    ours = [each for each in dealt if each.settings.publish is resources.Publication.DRA]
    pools = {slicing.pool_name(node, each): each for each in ours}
    devices = {(name, attributes.name(device.id)): device for name, each in pools.items() for device in each.devices}
    return NodeSnapshot(catalog, now, pools, devices)
