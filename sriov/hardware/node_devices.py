"""Devices of this node that a pod might be given, as plain facts. `discovery` reads them, `pools` decides on them."""

import enum
from collections.abc import Mapping

import msgspec

from sriov import devices
from sriov.hardware import host_networking
from sriov.hardware.drivers import infiniband, vdpa_devices

GOING = "is about to go: its PF is losing its VFs"
"""What a VF does while the kernel removes its PF's VFs, one after the other and all of them."""


class Role(enum.Enum):
    """Kind of a device; the value is for people."""

    VF = "VF"
    PF = "PF"
    NIC = "NIC without SR-IOV"
    SF = "subfunction"
    AUXILIARY = "auxiliary device"
    ACCELERATOR = "accelerator"


class IommuGroup(msgspec.Struct, frozen=True):
    """A group's number, and whether it protects nothing (vfio's no-IOMMU mode)."""

    number: str
    unsafe: bool = False


class Vfio(msgspec.Struct, frozen=True):
    """The vfio side of a device that has a vfio driver.

    `device` is its own character device in /dev/vfio/devices, as in `vfio3`; None if the kernel makes none. `is_open`
    is whether a program has it open; None if that cannot be known.
    """

    device: str | None = None
    is_open: bool | None = None


class Candidate(msgspec.Struct, frozen=True):
    """A device that a pod might be given.

    `id` is the PCI address, or an auxiliary device's name; `pci` is the device itself, or the one it is on. `vendor`,
    `device`, `driver` are the PCI device's. `pf` and `index` are set for VFs and SFs, `pf_netdev` if the PF has a
    netdev. `netdevs` is empty while the device is in a pod. `bridges` are the PCI bridges above it, from the root on.
    `acpi_index` is as sysfs has it. `numvfs` is a PF's. `host_use` is why the host cannot spare it. `without_netdev`:
    its network driver has brought no netdev in any namespace. `going`: a VF of a PF that is losing its VFs.
    `ddp_profile` is the name of the profile in its NIC's pipeline; sysfs does not show it, so a scan leaves it out.
    """

    id: str
    role: Role
    pci: devices.PciAddress
    vendor: str
    device: str
    driver: str | None
    numa_node: int | None = None
    pf: devices.PciAddress | None = None
    pf_netdev: str | None = None
    index: int | None = None
    netdevs: tuple[str, ...] = ()
    link_type: devices.LinkType = devices.LinkType.UNKNOWN
    bridges: tuple[str, ...] = ()
    acpi_index: str | None = None
    iommu: IommuGroup | None = None
    vfio: Vfio | None = None
    uio: str | None = None
    rdma: infiniband.Rdma | None = None
    vdpa: vdpa_devices.Vdpa | None = None
    representor: str | None = None
    aux_type: str | None = None
    numvfs: int = 0
    host_use: host_networking.HostUse | None = None
    without_netdev: bool = False
    going: bool = False
    ddp_profile: str | None = None


class Uplink(msgspec.Struct, frozen=True):
    """State of a PF's netdev. `carrier` is None if it cannot be known, as while the netdev is down."""

    netdev: str
    up: bool
    carrier: bool | None


class Catalog(msgspec.Struct, frozen=True):
    """Snapshot of candidates by ID, PCI devices in PCI order and then the others; and of uplinks by their PF.

    `shared` are paths of device nodes that belong to no single device and exist: RDMA CM, vhost-net, tun and iommufd.
    """

    candidates: Mapping[str, Candidate]
    shared: frozenset[str] = frozenset()
    uplinks: Mapping[devices.PciAddress, Uplink] = msgspec.field(default_factory=dict)


EMPTY = Catalog({})
