"""One PCI device of any kind, as sysfs shows it: its NUMA node, its place on the bus, a PF's VFs.

A folder is the device's in sysfs. Formats: Documentation/ABI/testing/sysfs-bus-pci in the kernel's source.
"""

import pathlib
from collections.abc import Iterable

from sriov import devices
from sriov.hardware import sysfs

_VIRTFN = "virtfn"


def numa_node(folder: pathlib.Path | str) -> int | None:
    """None if the machine has no NUMA: then the kernel shows -1."""
    node = sysfs.integer(f"{folder}/numa_node")
    return None if node is None or node < 0 else node


def bridges(folder: pathlib.Path | str) -> tuple[str, ...]:
    """The host bridge and the bridges above the device, outermost first.

    From what the bus's link points to: ../../../devices/pci0000:00/0000:00:02.0/0000:01:10.0.
    """
    parts = sysfs.link(folder)
    return parts[parts.index("devices") + 1 : -1] if "devices" in parts else ()


def shared(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """What two ways from the root, as `bridges` returns them, have in common before they part."""
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return one[:length]


def count(entries: Iterable[str]) -> int:
    """The number of VFs of a PF with these entries in its folder. Who reads `sriov_numvfs` waits for who writes it, at
    least before Linux 6.9, and with some drivers that takes very long (drivers/pci/iov.c, sriov_numvfs_show)."""
    return sum(name.startswith(_VIRTFN) for name in entries)


def is_losing(pf: pathlib.Path | str) -> bool:
    """Whether the kernel is removing the VFs of this PF: all or none, by their index, and the links of each before the
    VF itself (drivers/pci/iov.c, sriov_del_vfs and pci_iov_remove_virtfn). So the first of them is gone."""
    return vf(pf, 0) is None


def vf(folder: pathlib.Path | str, index: int) -> str | None:
    """The PCI address of the PF's VF with this index, from its virtfnN link; None if there is no such VF."""
    return sysfs.target(f"{folder}/{_VIRTFN}{index}")


def vfs(folder: pathlib.Path | str) -> dict[int, devices.PciAddress]:
    """The PF's VFs by index. Raises DeviceError for a link that leads to no PCI device."""
    return {index: devices.pci_address(target) for index, target in virtfns(folder).items()}


def virtfns(folder: pathlib.Path | str) -> dict[int, str]:
    """Names of what the PF's virtfn links lead to, by index, without any that goes while they are read."""
    links = (name for name in sysfs.names(folder) if name.startswith(_VIRTFN))
    targets = ((int(name.removeprefix(_VIRTFN)), sysfs.target(f"{folder}/{name}")) for name in links)
    return {index: target for index, target in targets if target is not None}
