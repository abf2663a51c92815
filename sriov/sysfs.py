"""Reading sysfs: one attribute, one link, one directory at a time. Never writes; knows no SR-IOV policy.

A device may vanish between two reads, so an attribute that cannot be read is None, never an exception.
Formats: Documentation/ABI/testing/sysfs-bus-pci and sysfs-class-net in the kernel's source.
"""

import dataclasses
import functools
import os
import pathlib
import re

from sriov import devices

# A representor's port name (kernel: drivers/net/ethernet/mellanox/mlx5/core/esw/devlink_port.c) is pf0vf3 or c1pf0sf88.
_REPRESENTOR = re.compile(r"(c\d+)?pf\d+(vf|sf)(?P<number>\d+)")
_PAGE = 4096  # an attribute is at most a page long
ARPHRD = {1: devices.LinkType.ETHER, 32: devices.LinkType.INFINIBAND}  # include/uapi/linux/if_arp.h


def text(path: pathlib.Path | str) -> str | None:
    """One attribute without its newline. Plain system calls, since a node has thousands of attributes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, _PAGE).decode("ascii", "replace").strip()
    except OSError:  # carrier and speed are refused while a netdev is down
        return None
    finally:
        os.close(descriptor)


def integer(path: pathlib.Path | str) -> int | None:
    """One attribute as a number, decimal or 0x."""
    value = text(path)
    try:
        return None if value is None else int(value, 0)
    except ValueError:
        return None


def target(path: pathlib.Path | str) -> str | None:
    """The last component of what a link points to: a driver's name, a device's address."""
    parts = link(path)
    return parts[-1] if parts else None


def link(path: pathlib.Path | str) -> tuple[str, ...]:
    """The components of what a link points to; none where it is not a link."""
    try:
        return tuple(os.readlink(path).split("/"))  # noqa: PTH115 (pathlib takes three times as long)
    except OSError:
        return ()


def names(path: pathlib.Path | str) -> tuple[str, ...]:
    """The entries of a directory, sorted; empty where there is none."""
    try:
        return tuple(sorted(os.listdir(path)))
    except OSError:
        return ()


@dataclasses.dataclass(frozen=True, slots=True)
class Netdev:
    """A netdev as this namespace's sysfs shows it. `address` is lower case."""

    name: str
    index: int
    address: str
    mtu: int


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """A sysfs: the machine's at /sys, or one that a test has built."""

    root: pathlib.Path = pathlib.Path("/sys")

    @property
    def pci_devices(self) -> pathlib.Path:
        return self.root / "bus/pci/devices"

    def pci(self, address: devices.PciAddress) -> pathlib.Path:
        return _folder(self.root, address)

    def birth(self, address: devices.PciAddress) -> int:
        """A number that another device at the same address does not have: the inode of its folder. 0 without one."""
        try:
            return os.stat(self.pci(address)).st_ino  # noqa: PTH116
        except OSError:
            return 0

    def netdev_name(self, address: devices.PciAddress) -> str | None:
        """The device's netdev in this namespace; the uplink where there are representors beside it."""
        folder = f"{self.pci(address)}/net"
        found = names(folder)
        if len(found) > 1:
            found = tuple(name for name in found if represents(f"{folder}/{name}") is None)
        return found[0] if len(found) == 1 else None

    def netdev(self, address: devices.PciAddress) -> Netdev | None:
        """The device's netdev with what an attachment has to know, without a netlink request."""
        name = self.netdev_name(address)
        if name is None:
            return None
        folder = f"{self.pci(address)}/net/{name}"
        index, mac, mtu = integer(f"{folder}/ifindex"), text(f"{folder}/address"), integer(f"{folder}/mtu")
        if index is None or mac is None or mtu is None:
            return None
        return Netdev(name, index, mac, mtu)

    def link_type(self, address: devices.PciAddress, netdev: str | None) -> devices.LinkType:
        if netdev is None:
            return devices.LinkType.UNKNOWN
        kind = integer(f"{self.pci(address)}/net/{netdev}/type")
        return ARPHRD.get(kind or 0, devices.LinkType.UNKNOWN)

    def numa_node(self, address: devices.PciAddress) -> int | None:
        node = integer(f"{self.pci(address)}/numa_node")
        return None if node is None or node < 0 else node


@functools.lru_cache(maxsize=4096)
def _folder(root: pathlib.Path, address: devices.PciAddress) -> pathlib.Path:
    """Made once: an attachment asks some twenty times."""
    return root / "bus/pci/devices" / address


def represents(folder: pathlib.Path | str) -> int | None:
    """Of which VF or SF a netdev is the representor; None if it is none."""
    found = _REPRESENTOR.fullmatch(text(f"{folder}/phys_port_name") or "")
    return None if found is None else int(found["number"])
