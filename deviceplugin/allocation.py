"""Answer to Allocate: environment, device nodes, CDI names and annotations of a container's devices. Pure.

Nothing is remembered: the kubelet asks again for the same VF when a pod's next container uses it, or the next pod,
and never reports that one is free (pkg/kubelet/cm/devicemanager/manager.go, devicesToAllocate).
"""

from collections.abc import Mapping, Sequence

import msgspec

from sriov import errors
from sriov.pools import assignment, cdi, device_nodes


class AllocationError(errors.SriovError):
    """The kubelet asked for devices that this pool cannot give.

    `retryable`: the request is right, but the device is unhealthy now.
    """

    def __init__(self, message: str, remedy: str, *, retryable: bool) -> None:
        super().__init__(message, remedy)
        self.retryable = retryable


class Answer(msgspec.Struct, frozen=True):
    """Answer for one container; `cdi_devices` are qualified names as in `intel.com/net-pci=0000:01:10.0`. No mounts."""

    envs: Mapping[str, str]
    nodes: tuple[device_nodes.DeviceNode, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)


def answer(pool: assignment.Pool, ids: Sequence[str], delivery: cdi.Delivery = cdi.Delivery.NODES) -> Answer:
    """Return the answer for one container that gets these devices, in the request's order. Raises AllocationError."""
    chosen = select(pool, ids)
    envs = device_nodes.environment(pool.settings, chosen, pool.shared)
    if delivery is cdi.Delivery.NODES:
        every = (node for device in chosen for node in device_nodes.nodes(device, pool.shared))
        return Answer(envs, tuple({node.host: node for node in every}.values()))
    qualified = cdi.qualified_names(pool.settings, [each for each in chosen if device_nodes.nodes(each, pool.shared)])
    if delivery is cdi.Delivery.FIELD:
        return Answer(envs, cdi_devices=qualified)
    return Answer(envs, annotations=cdi.annotations(pool.settings, qualified))


def select(pool: assignment.Pool, ids: Sequence[str]) -> tuple[assignment.Device, ...]:
    """Return the pool's devices with these IDs. Raises AllocationError."""
    members = {device.id: device for device in pool.devices}
    chosen: dict[str, assignment.Device] = {}
    for one in ids:
        if one not in members:
            remedy = "the plugin sends the kubelet its list again"
            raise AllocationError(f"{pool.resource} has no device {one!r}", remedy, retryable=False)
        if one in chosen:
            message = f"the request names {one} of {pool.resource} twice"
            raise AllocationError(message, "ask for each device once", retryable=False)
        chosen[one] = _healthy(pool, members[one])
    return tuple(chosen.values())


def _healthy(pool: assignment.Pool, device: assignment.Device) -> assignment.Device:
    if device.ailment is not None:
        raise AllocationError(
            f"device {device.id} of {pool.resource} is unhealthy: it {device.ailment}",
            f"look at /sys/bus/pci/devices/{device.facts.pci}",
            retryable=True,
        )
    return device
