"""PFs and VFs as frozen values. Nothing here reads or changes anything.

A VF is known by its PCI address and its PF, never by its netdev, which is often in a pod and has another name there.
"""

import enum
import re
from typing import NewType

import msgspec

from sriov import errors

PciAddress = NewType("PciAddress", str)
"""Domain, bus, device, function as sysfs writes them: `0000:01:10.0`."""

USERSPACE_DRIVERS = frozenset({"vfio-pci", "uio_pci_generic", "igb_uio"})
"""Drivers that give a device to a program: it has no netdev then, and a pod gets it as a device node.

Listed by name, since kernels before 6.1 show nothing else; sysfs.is_userspace() knows more of a device that is bound.
"""

PINNING_DRIVERS = frozenset({"mlx5_core"})
"""Drivers whose spoof checking knows a VF only by its administered MAC: without one, no frame gets out.

mlx5: esw_acl_ingress_lgcy_setup() in drivers/net/ethernet/mellanox/mlx5/core/esw/acl/ingress_lgcy.c. With other drivers
a trusted VF may change its address whatever is administered: igb_set_vf_mac_addr(), ixgbe_set_vf_mac_addr(),
i40e_check_vf_permission(), ice_can_vf_change_mac().
"""

RESET_BY_A_MAC = frozenset({"iavf"})
"""VF drivers whose PF resets the VF for every MAC that it is told, but ignores one that the VF already has.

ice_set_vf_mac() in drivers/net/ethernet/intel/ice/ice_sriov.c: such a MAC is not administered, and the VF may take
another. i40e_ndo_set_vf_mac() in i40e_virtchnl_pf.c resets for any.
"""

# Domains beyond 0xffff exist behind Intel VMD controllers.
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")


class LinkType(enum.Enum):
    """Link layer of a netdev; the value is that of `linkTypes` selectors."""

    ETHER = "ether"
    INFINIBAND = "infiniband"
    UNKNOWN = ""


class EswitchMode(enum.Enum):
    """Mode of a card's switch between VFs; the value is that of `devlink dev eswitch`."""

    LEGACY = "legacy"
    SWITCHDEV = "switchdev"


class PF(msgspec.Struct, frozen=True):
    """A physical function: a PCI network device with an SR-IOV capability.

    `vendor` and `device` are four lower-case hex digits. `numa_node` is None if the machine has no NUMA.
    `netdev` is None without a driver; if the PF has several netdevs it is the uplink, not a representor.
    """

    pci: PciAddress
    vendor: str
    device: str
    driver: str | None
    netdev: str | None
    numa_node: int | None
    link_type: LinkType
    numvfs: int
    totalvfs: int


class VF(msgspec.Struct, frozen=True):
    """A virtual function. `index` is what `ip link set PF vf INDEX` takes.

    `pf` is None inside a virtual machine that was given the VF: its PF is on another machine, out of reach.
    `netdev` is None while the VF is in another namespace, has no driver, or has a userspace driver (vfio-pci).
    `pf_netdev` is None if the PF has no netdev. `link_type` is the VF netdev's, else its PF's. `userspace`: its driver
    gives it to a program.
    """

    pci: PciAddress
    pf: PciAddress | None
    pf_netdev: str | None
    index: int
    vendor: str
    device: str
    driver: str | None
    netdev: str | None
    numa_node: int | None
    link_type: LinkType
    userspace: bool = False

    @property
    def infiniband(self) -> bool:
        """Whether its link layer is InfiniBand: its netdev's address has 20 octets, and nobody can set it."""
        return self.link_type is LinkType.INFINIBAND


def pci_address(text: object) -> PciAddress:
    """Check that `text` is a full, lower-case PCI address, so that it may become part of a path.

    Raises DeviceError.
    """
    if isinstance(text, str) and _PCI.fullmatch(text):
        return PciAddress(text)
    raise errors.DeviceError(
        f"{text!r} is not a PCI address", "write domain:bus:device.function in lower case, as in 0000:01:10.0"
    )


def routing_id(address: PciAddress) -> int:
    """Return the 16-bit bus:device.function number within the domain (PCIe base spec, "Routing ID")."""
    _, bus, rest = address.split(":")
    slot, function = rest.split(".")
    return int(bus, 16) << 8 | int(slot, 16) << 3 | int(function)


def fallback_name(address: PciAddress) -> str:
    """Return a netdev name that no other device has, for a VF whose own name is taken or forgotten."""
    return "vf" + address.replace(":", "").replace(".", "")
