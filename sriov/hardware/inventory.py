"""PFs and VFs of this node. `scan` reads all of them, `lookup` reads one VF without looking at the others."""

import types
from collections.abc import Mapping

import msgspec

from sriov import devices, errors
from sriov.hardware import pci, sysfs

# Drivers that drive only VFs; and VFs of a driver that drives both (drivers/net/ethernet/mellanox/mlx5/core/main.c,
# the entries of mlx5_core_pci_table that are MLX5_PCI_DEV_IS_VF).
_VF_DRIVERS = frozenset({"igbvf", "ixgbevf", "iavf"})
_VF_IDS = frozenset(("15b3", each) for each in ("1012", "1014", "1016", "1018", "101a", "101c", "101e", "a2d3"))
_NETWORK_CLASS = "0x02"  # PCI code and ID assignment, base class 02h: network controller


class Inventory(msgspec.Struct, frozen=True):
    """The node's PFs and VFs by PCI address, in PCI order. A snapshot: take another one after a uevent."""

    pfs: Mapping[devices.PciAddress, devices.PF]
    vfs: Mapping[devices.PciAddress, devices.VF]


def scan(tree: sysfs.Tree) -> Inventory:
    """Read every PCI network device that has the SR-IOV capability, and its VFs."""
    pfs: dict[devices.PciAddress, devices.PF] = {}
    vfs: dict[devices.PciAddress, devices.VF] = {}
    for name in sysfs.names(tree.pci_devices):
        pf = _read_pf(tree, name)
        if pf is None:
            continue
        pfs[pf.pci] = pf
        for index, address in pci.vfs(tree.pci(pf.pci)).items():
            vfs[address] = _read_vf(tree, address, pf.pci, pf.netdev, index)
    ordered = {address: vfs[address] for address in sorted(vfs)}
    return Inventory(types.MappingProxyType(pfs), types.MappingProxyType(ordered))


def lookup(tree: sysfs.Tree, address: devices.PciAddress) -> devices.VF:
    """Read one VF. Its index follows from its PF's VF offset and stride, so that no other VF is read.

    A VF whose PF is on another machine (this is a virtual machine) is known by its driver or its ids.

    Raises DeviceError if there is no such device, or it is a PF, or not an SR-IOV VF.
    """
    path = tree.pci(address)
    physfn = sysfs.target(f"{path}/physfn")
    if physfn is None:
        if is_vf_without_pf(tree, address):
            return _read_vf(tree, address, None, None, 0)
        raise _not_a_vf(tree, address)
    pf = devices.pci_address(physfn)
    index = _index_by_routing_id(tree, pf, address)
    if index is None:
        index = {vf: number for number, vf in pci.vfs(tree.pci(pf)).items()}.get(address)
    if index is None:
        raise errors.DeviceError(
            f"PF {pf} does not list {address} among its VFs", f"is it being removed? look at {tree.pci(pf)}/virtfn*"
        )
    return _read_vf(tree, address, pf, tree.netdev_name(pf), index)


def is_vf_without_pf(tree: sysfs.Tree, address: devices.PciAddress) -> bool:
    """Report whether this is a VF that a virtual machine was given, and its PF is on another machine."""
    path = tree.pci(address)
    if (path / "sriov_totalvfs").exists() or not (sysfs.text(f"{path}/class") or "").startswith(_NETWORK_CLASS):
        return False
    ids = _id(sysfs.text(f"{path}/vendor")), _id(sysfs.text(f"{path}/device"))
    return ids in _VF_IDS or sysfs.target(f"{path}/driver") in _VF_DRIVERS


def _not_a_vf(tree: sysfs.Tree, address: devices.PciAddress) -> errors.DeviceError:
    path = tree.pci(address)
    if not path.exists():
        return errors.DeviceError(
            f"there is no PCI device {address}", "use an address the device plugin allocated, see `lspci -D`"
        )
    if (path / "sriov_totalvfs").exists():
        return errors.DeviceError(
            f"{address} is a PF, and a PF is never handed to a pod", f"use one of its VFs: {path}/virtfn*"
        )
    return errors.DeviceError(f"{address} is not an SR-IOV VF", "it has no physfn in sysfs; use a VF's address")


def _index_by_routing_id(tree: sysfs.Tree, pf: devices.PciAddress, vf: devices.PciAddress) -> int | None:
    """Compute the VF's index (PCIe base spec 9.3.3.9: First VF Offset, VF Stride); None unless sysfs confirms it."""
    offset, stride = (sysfs.integer(f"{tree.pci(pf)}/{name}") for name in ("sriov_offset", "sriov_stride"))
    if offset is None or not stride:
        return None
    index = (devices.routing_id(vf) - devices.routing_id(pf) - offset) // stride
    return index if pci.vf(tree.pci(pf), index) == vf else None


def _read_pf(tree: sysfs.Tree, name: str) -> devices.PF | None:
    path = tree.pci_devices / name
    total = sysfs.integer(f"{path}/sriov_totalvfs")
    if total is None or not (sysfs.text(f"{path}/class") or "").startswith(_NETWORK_CLASS):
        return None
    address = devices.pci_address(name)
    netdev = tree.netdev_name(address)
    return devices.PF(
        pci=address,
        vendor=_id(sysfs.text(f"{path}/vendor")),
        device=_id(sysfs.text(f"{path}/device")),
        driver=sysfs.target(f"{path}/driver"),
        netdev=netdev,
        numa_node=pci.numa_node(path),
        link_type=tree.link_type(address, netdev),
        numvfs=pci.count(sysfs.names(path)),
        totalvfs=total,
    )


def _read_vf(
    tree: sysfs.Tree, address: devices.PciAddress, pf: devices.PciAddress | None, pf_netdev: str | None, index: int
) -> devices.VF:
    path = tree.pci(address)
    netdev, driver = tree.netdev_name(address), sysfs.target(f"{path}/driver")
    kind = tree.link_type(address, netdev)
    if kind is devices.LinkType.UNKNOWN and pf is not None:
        kind = tree.link_type(pf, pf_netdev)
    return devices.VF(
        pci=address,
        pf=pf,
        pf_netdev=pf_netdev,
        index=index,
        vendor=_id(sysfs.text(f"{path}/vendor")),
        device=_id(sysfs.text(f"{path}/device")),
        driver=driver,
        netdev=netdev,
        numa_node=pci.numa_node(path),
        link_type=kind,
        userspace=netdev is None and sysfs.is_userspace(str(path), driver),
    )


def _id(value: str | None) -> str:
    return (value or "").removeprefix("0x")
