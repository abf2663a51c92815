"""Plan of what to write: the slices that there are, compared with those that should be. Pure.

Devices that change within their slice change only that slice. If devices move between slices, or the number of slices
changes, all slices of the pool get the next generation: readers take the highest generation that is complete
(resource.k8s.io/v1, ResourcePool).
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from sriov_dra.publishing import slice_objects, slicing
from sriov_dra.publishing.slice_objects import DeviceSlice


class Create(msgspec.Struct, frozen=True):
    wanted: DeviceSlice


class Replace(msgspec.Struct, frozen=True):
    wanted: DeviceSlice


class Delete(msgspec.Struct, frozen=True):
    name: str


Step = Create | Replace | Delete


class Issuer(msgspec.Struct, frozen=True):
    """Who publishes: the driver's name, the node's, and the node as the slices' owner."""

    driver: str
    node: str
    owner: slice_objects.OwnerNode


def plan(who: Issuer, there: Sequence[DeviceSlice], wanted: Sequence[slicing.PoolSlices]) -> tuple[Step, ...]:
    """Return the steps in their order; none if all is as it should be."""
    by_pool: dict[str, list[DeviceSlice]] = {each.name: [] for each in wanted}
    surplus: list[DeviceSlice] = []
    for found in sorted(there, key=lambda each: each.metadata.name):
        by_pool.get(found.spec.pool.name, surplus).append(found)
    steps = [step for each in wanted for step in _pool(who, by_pool[each.name], each)]
    return (*steps, *(Delete(each.metadata.name) for each in surplus))


def _pool(who: Issuer, there: list[DeviceSlice], wanted: slicing.PoolSlices) -> Iterator[Step]:
    newest = max((each.spec.pool.generation for each in there), default=0)
    pool = slice_objects.SlicePool(wanted.name, newest, len(wanted.slices))
    whole = len(there) == len(wanted.slices) and all(each.spec.pool == pool for each in there)
    changed = [_differ(old, new) for old, new in zip(there, wanted.slices, strict=False)]
    stay = all(_names(old.spec.devices) == _names(new) for old, new in zip(there, wanted.slices, strict=False))
    if not whole or not (stay or sum(changed) <= 1):
        pool = msgspec.structs.replace(pool, generation=newest + 1)
        changed = [True] * len(changed)
    for old, new, differs in zip(there, wanted.slices, changed, strict=False):
        if differs or who.owner not in old.metadata.ownerReferences:
            yield Replace(_replaced(who, old, pool, new))
    for number, devices in enumerate(wanted.slices[len(there) :], len(there)):
        yield Create(_made(who, number, pool, devices))
    for old in there[len(wanted.slices) :]:
        yield Delete(old.metadata.name)


def _names(devices: Sequence[slice_objects.SliceDevice]) -> list[str]:
    return [each.name for each in devices]


def _differ(old: DeviceSlice, new: Sequence[slice_objects.SliceDevice]) -> bool:
    return [timeless(each) for each in old.spec.devices] != list(new)


def timeless(device: slice_objects.SliceDevice) -> slice_objects.SliceDevice:
    """Return the device as the driver writes it: when a taint came is what the server adds."""
    if not device.taints:
        return device
    taints = tuple(msgspec.structs.replace(each, time_added=None) for each in device.taints)
    return msgspec.structs.replace(device, taints=taints)


def _replaced(
    who: Issuer, old: DeviceSlice, pool: slice_objects.SlicePool, devices: Sequence[slice_objects.SliceDevice]
) -> DeviceSlice:
    """A taint that stays keeps its time: tolerations count from it."""
    since = {each.name: {one.key: one for one in each.taints} for each in old.spec.devices}
    kept = tuple(_kept(each, since.get(each.name, {})) for each in devices)
    metadata = msgspec.structs.replace(old.metadata, ownerReferences=(who.owner,), generateName="")
    return DeviceSlice(metadata, slice_objects.SliceSpec(who.driver, pool, who.node, kept))


def _kept(
    device: slice_objects.SliceDevice, since: Mapping[str, slice_objects.DeviceTaint]
) -> slice_objects.SliceDevice:
    if not device.taints:
        return device
    taints = tuple(
        msgspec.structs.replace(each, time_added=since[each.key].time_added) if each.key in since else each
        for each in device.taints
    )
    return msgspec.structs.replace(device, taints=taints)


def _made(
    who: Issuer, number: int, pool: slice_objects.SlicePool, devices: Sequence[slice_objects.SliceDevice]
) -> DeviceSlice:
    """The name begins with the slice's place: the allocator sorts slices by name."""
    metadata = slice_objects.SliceMetadata(
        generateName=f"{number:05x}-{who.driver}-{who.node}-", ownerReferences=(who.owner,)
    )
    return DeviceSlice(metadata, slice_objects.SliceSpec(who.driver, pool, who.node, tuple(devices)))
