"""Which VF belongs to which resource, and what the kubelet is told about it. Pure.

A VF is in one pool at most: the first in file order that takes it, as with the incumbent. A pool that takes no VF is
there all the same, so that it can fill later. What a pod holds is listed like the rest: nothing but the kubelet
knows what is allocated, and a VF missing from the list keeps its pod's containers from restarting.
"""

import dataclasses
import enum
from collections.abc import Iterable

from deviceplugin import conf, names, selectors
from sriov import devices, inventory


class Health(enum.Enum):
    """The value is what the kubelet compares with (pkg/kubelet/cm/devicemanager/manager.go)."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """A VF as the kubelet sees it. `id` is its PCI address; `numa_node` is None where it is unknown or unwanted."""

    id: str
    health: Health
    numa_node: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """A resource and its devices in PCI order."""

    prefix: str
    name: str
    devices: tuple[Device, ...]

    @property
    def resource(self) -> str:
        """The extended resource that pods ask for, as in `intel.com/sriov`."""
        return names.resource(self.prefix, self.name)


def assign(found: inventory.Inventory, configuration: conf.Configuration) -> tuple[Pool, ...]:
    """Deal the VFs out: one pool a resource of the configuration, in its order."""
    taken: set[devices.PciAddress] = set()
    dealt = []
    for resource in configuration.resources:
        chosen = [vf for vf in found.vfs.values() if vf.pci not in taken and _wants(resource, vf)]
        taken.update(vf.pci for vf in chosen)
        dealt.append(_pool(resource, chosen))
    return tuple(dealt)


def _wants(resource: conf.Resource, vf: devices.VF) -> bool:
    return resource.alternatives is None or selectors.any_matches(resource.alternatives, vf)


def _pool(resource: conf.Resource, chosen: Iterable[devices.VF]) -> Pool:
    topology = not resource.exclude_topology
    members = tuple(Device(vf.pci, _health(vf), vf.numa_node if topology else None) for vf in chosen)
    return Pool(resource.prefix, resource.name, members)


def _health(vf: devices.VF) -> Health:
    """A VF without a driver is of no use to a pod. One without a netdev is: it is in a pod, or has vfio-pci."""
    return Health.UNHEALTHY if vf.driver is None else Health.HEALTHY
