"""Slices of the node's pools, as they should be: each pool's devices in order, in slices of at most 64. Pure."""

from collections.abc import Sequence

import msgspec

from sriov.kubelet import names
from sriov.pools import assignment, health
from sriov_dra.publishing import attributes, ordering, slice_objects


class PoolSlices(msgspec.Struct, frozen=True):
    """A pool by its name, and the devices of each of its slices. An empty pool has one empty slice."""

    name: str
    slices: tuple[tuple[slice_objects.SliceDevice, ...], ...]


def pool_name(node: str, pool: assignment.Pool) -> str:
    """Return `<node>/<resource>`: a pool, a device and a driver together are unique in the cluster."""
    return f"{node}/{names.pool(pool.settings.prefix, pool.settings.name)}"


def pools(
    node: str, driver: str, dealt: Sequence[assignment.Pool], now: health.Conditions, *, with_taints: bool = True
) -> tuple[PoolSlices, ...]:
    """Return all pools. Where the cluster knows no taints, a device that something ails is left out."""
    return tuple(PoolSlices(pool_name(node, pool), _slices(driver, pool, now, with_taints)) for pool in dealt)


def _slices(
    driver: str, pool: assignment.Pool, now: health.Conditions, with_taints: bool
) -> tuple[tuple[slice_objects.SliceDevice, ...], ...]:
    told = (
        attributes.device(one, pool, assignment.ailments(pool.settings, one.facts, now), driver)
        for one in ordering.ordered(pool)
    )
    devices = [one for one in told if with_taints or not one.taints]
    most = slice_objects.MOST_DEVICES
    return tuple(tuple(devices[first : first + most]) for first in range(0, len(devices), most)) or ((),)
