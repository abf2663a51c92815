"""Assignment of devices to resources, and their health. Pure.

A device belongs to the first pool that takes it, in file order, so that no two pods are ever given the same device. An
empty pool is kept: devices may come later. A device that a pod holds is listed like the rest: only the kubelet knows
what is allocated, and a device missing from the list keeps its pod's containers from restarting.
"""

import enum
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from sriov.hardware import host_networking, node_devices
from sriov.pools import health, resources, selectors

_ROLES = {
    resources.DeviceType.NET: {node_devices.Role.VF, node_devices.Role.PF, node_devices.Role.NIC},
    resources.DeviceType.ACCELERATOR: {node_devices.Role.ACCELERATOR},
    resources.DeviceType.AUXILIARY: {node_devices.Role.SF, node_devices.Role.AUXILIARY},
}


class Health(enum.Enum):
    """Health of a device; the value is the one that the kubelet compares (pkg/kubelet/cm/devicemanager/manager.go)."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


class Device(msgspec.Struct, frozen=True):
    """A device as the kubelet sees it, with its facts and the selector that took it.

    `numa_node` is None if it is unknown or unwanted; `ailment` is why the device is unhealthy.
    """

    id: str
    facts: node_devices.Candidate
    selector: selectors.Selector = selectors.EVERY
    numa_node: int | None = None
    ailment: str | None = None

    @property
    def health(self) -> Health:
        return Health.HEALTHY if self.ailment is None else Health.UNHEALTHY


class Pool(msgspec.Struct, frozen=True):
    """A resource and its devices in the catalog's order. `shared` are this machine's node-wide device nodes."""

    settings: resources.Resource
    devices: tuple[Device, ...] = ()
    shared: frozenset[str] = frozenset()

    @property
    def resource(self) -> str:
        return self.settings.full_name

    @property
    def listing(self) -> tuple[tuple[str, Health, int | None], ...]:
        """The list for the kubelet: if it stays the same, nothing has changed for the kubelet."""
        return tuple((device.id, device.health, device.numa_node) for device in self.devices)


def assign(
    found: node_devices.Catalog,
    configuration: resources.Configuration,
    now: health.Conditions = health.NONE,
    before: Mapping[str, str] | None = None,
) -> tuple[Pool, ...]:
    """Assign the devices: returns one pool for each resource of the configuration, in its order.

    `before` is the resource, by full name, that a device was in: a device that has lost its driver stays in it,
    unhealthy.
    """
    taken: set[str] = set()
    dealt = []
    for resource in configuration.resources:
        members = tuple(_members(resource, found, now, before or {}, taken))
        taken.update(member.id for member in members)
        dealt.append(Pool(resource, members, found.shared))
    return tuple(dealt)


def _members(
    resource: resources.Resource,
    found: node_devices.Catalog,
    now: health.Conditions,
    before: Mapping[str, str],
    taken: set[str],
) -> Iterator[Device]:
    for one in found.candidates.values():
        if one.id in taken:
            continue
        chosen = choose(resource, one, now, stays=before.get(one.id) == resource.full_name)
        if chosen is not None:
            numa_node = None if resource.exclude_topology else one.numa_node
            ails = _elsewhere(resource, one, now) or next((each.text for each in ailments(resource, one, now)), None)
            yield Device(one.id, one, chosen, numa_node, ails)


def ailments(resource: resources.Resource, one: node_devices.Candidate, now: health.Conditions) -> list[health.Ailment]:
    """Return everything that is wrong with a device of the resource."""
    held = health.held(resource.publish, one, now)
    return [*([] if held is None else [held]), *health.ailments(resource.checks, one, now)]


def _elsewhere(resource: resources.Resource, one: node_devices.Candidate, now: health.Conditions) -> str | None:
    """Report a VF that a pod holds as another resource: the kubelet counts each by itself, and would give it again."""
    given = now.given.get(one.id)
    return None if given in (None, resource.full_name) else f"is in a pod that was given it as {given}"


def choose(
    resource: resources.Resource, one: node_devices.Candidate, now: health.Conditions, *, stays: bool = False
) -> selectors.Selector | None:
    """Return the resource's first selector that takes the device. `stays`: the device was in the resource before."""
    if _barred(resource, one, now, stays=stays) is not None:
        return None
    if resource.alternatives is None:
        return selectors.EVERY
    any_driver = stays and one.driver is None
    fitting = (each for each in resource.alternatives if selectors.matches(each, one, any_driver=any_driver))
    return next(fitting, None)


def why_not(resource: resources.Resource, one: node_devices.Candidate, now: health.Conditions) -> str | None:
    """Return why the resource does not take the device; None if it does."""
    barred = _barred(resource, one, now, stays=False)
    if barred is not None or resource.alternatives is None:
        return barred
    refusals = [selectors.refusal(each, one) for each in resource.alternatives]
    if None in refusals:
        return None
    return "; ".join(filter(None, refusals)) or "the list of selectors is empty"


def _barred(
    resource: resources.Resource, one: node_devices.Candidate, now: health.Conditions, *, stays: bool
) -> str | None:
    """Return why the device is not for pods, or not for this kind of resource, whatever the selectors are."""
    if one.role not in _ROLES[resource.kind]:
        return f"the pool is of type {resource.kind.value}, it is a {one.role.value}"
    if one.numvfs or (one.role is node_devices.Role.PF and one.pci in now.managed):
        return "it is a PF whose VFs are for pods"
    if not stays and (why := _not_now(one)) is not None:
        return why
    if (
        resource.alternatives is None
        and resource.kind is resources.DeviceType.NET
        and one.role is not node_devices.Role.VF
    ):
        return "without selectors a pool takes VFs only"
    use = one.host_use
    if use is not None and not (resource.host_addresses and use.use is host_networking.Use.ADDRESS):
        return f"it carries traffic of the host: {use.text}"
    return None


def _not_now(one: node_devices.Candidate) -> str | None:
    """Return why the device enters no resource now; in the one that it was in, it is unhealthy."""
    if one.going:
        return "its PF is losing its VFs"
    return "it has no driver" if one.driver is None and one.role is not node_devices.Role.VF else None


def ailment(checks: resources.Checks, one: node_devices.Candidate, now: health.Conditions) -> str | None:
    """Return why a device is unhealthy, whoever has it."""
    return next((each.text for each in health.ailments(checks, one, now)), None)


def shared_groups(dealt: Sequence[Pool]) -> dict[str, str]:
    """Return a warning by IOMMU group for vfio devices that share one; such devices are still listed one by one."""
    groups: dict[str, list[str]] = {}
    for device in (device for pool in dealt for device in pool.devices):
        if device.facts.vfio is not None and device.facts.iommu is not None:
            groups.setdefault(device.facts.iommu.number, []).append(device.id)
    return {number: _shared(number, members) for number, members in groups.items() if len(members) > 1}


def _shared(number: str, members: Sequence[str]) -> str:
    return (
        f"IOMMU group {number} holds {', '.join(members)}: a pod that has one keeps other pods from opening theirs"
        " and is not isolated from them; use a slot whose bridges have ACS"
    )
