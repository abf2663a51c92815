"""Resource as configured: one entry of `resourceList`, read and checked. Values only."""

import enum
from collections.abc import Mapping

import msgspec

from sriov.kubelet import names
from sriov.pools import selectors


class DeviceType(enum.Enum):
    """Kind of devices in a resource; the value is `deviceType`."""

    NET = "netDevice"
    ACCELERATOR = "accelerator"
    AUXILIARY = "auxNetDevice"


class AllocationPolicy(enum.Enum):
    """Order in which a resource's devices go to containers; the value is `allocationPolicy`."""

    PACKED = "packed"
    SPREAD = "spread"
    NUMA = "numa"
    PCIE = "pcie"


class Publication(enum.Enum):
    """Way in which the cluster learns of a resource's devices; the value is `publish`."""

    DEVICE_PLUGIN = "device-plugin"
    DRA = "dra"


class Checks(msgspec.Struct, frozen=True):
    """Checks of a device's health. `pf`: its PF is down or has no carrier; `driver`: it has none; `cleanup`: a pod
    is gone and the CNI has not taken the device back clean."""

    pf: bool = False
    driver: bool = True
    cleanup: bool = True


class Resource(msgspec.Struct, frozen=True):
    """A resource. The first of its `alternatives` that fits takes a device; None takes every VF, () takes nothing.

    `additional_info` is by PCI address, or `*`. `host_addresses` offers devices even if the host has an address there.
    """

    prefix: str
    name: str
    alternatives: tuple[selectors.Selector, ...] | None = None
    kind: DeviceType = DeviceType.NET
    exclude_topology: bool = False
    additional_info: Mapping[str, Mapping[str, str]] | None = None
    policy: AllocationPolicy = AllocationPolicy.SPREAD
    checks: Checks = msgspec.field(default_factory=Checks)
    host_addresses: bool = False
    publish: Publication = Publication.DEVICE_PLUGIN

    @property
    def full_name(self) -> str:
        """Return the extended resource that pods ask for, as in `intel.com/sriov`."""
        return names.resource(self.prefix, self.name)


class Configuration(msgspec.Struct, frozen=True):
    """The resources in file order, and warnings about what was ignored, for the log."""

    resources: tuple[Resource, ...]
    warnings: tuple[str, ...] = ()

    def published(self, way: Publication) -> tuple[Resource, ...]:
        """Return the resources that are published in this way."""
        return tuple(each for each in self.resources if each.publish is way)

    @property
    def asks_for_profiles(self) -> bool:
        """Whether any selector has ddpProfiles."""
        return any(each.ddp_profiles for resource in self.resources for each in resource.alternatives or ())
