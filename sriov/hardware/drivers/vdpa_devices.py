"""vDPA devices of this node and their PCI devices, from sysfs alone (/sys/bus/vdpa, kernel: drivers/vdpa/vdpa.c)."""

import contextlib
from collections.abc import Mapping

import msgspec

from sriov import devices, errors
from sriov.hardware import sysfs

TYPES = {"vhost_vdpa": "vhost", "virtio_vdpa": "virtio"}
"""Driver of a vDPA device to its `vdpaType`."""


class Vdpa(msgspec.Struct, frozen=True):
    """`name` as in `vdpa0`; `type` is vhost or virtio, None without a driver; `path` is the vhost device's, in /dev."""

    name: str
    type: str | None
    path: str | None


def read(tree: sysfs.Tree) -> Mapping[devices.PciAddress, Vdpa]:
    """Read every vDPA device, by its PCI device."""
    root = f"{tree.root}/bus/vdpa/devices"
    found: dict[devices.PciAddress, Vdpa] = {}
    for name in sysfs.names(root):
        address = _parent(f"{root}/{name}")
        if address is not None:
            found[address] = _read(f"{root}/{name}", name)
    return found


def _parent(link: str) -> devices.PciAddress | None:
    """Return the nearest PCI device on its path; mlx5 puts an auxiliary device between the two."""
    for part in reversed(sysfs.link(link)):
        with contextlib.suppress(errors.DeviceError):
            return devices.pci_address(part)
    return None


def _read(folder: str, name: str) -> Vdpa:
    kind = TYPES.get(sysfs.target(f"{folder}/driver") or "")
    nodes = [entry for entry in sysfs.names(folder) if entry.startswith("vhost-vdpa-")]
    return Vdpa(name, kind, f"/dev/{nodes[0]}" if nodes else None)
