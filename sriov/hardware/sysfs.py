"""Reader of sysfs: one attribute, one link, one directory at a time. Never writes; knows no SR-IOV policy.

A device may vanish between two reads, so an attribute that cannot be read is None, never an exception.
Formats: Documentation/ABI/testing/sysfs-bus-pci and sysfs-class-net in the kernel's source.
"""

import functools
import os
import pathlib
import re
from collections.abc import Collection, Iterator

import msgspec

from sriov import devices
from sriov.hardware import ports

# Devices that a device may carry and that have netdevs of their own: virtio0, vdpa1, mlx5's mlx5_core.vnet.2 between.
_CARRIED = re.compile(r"virtio\d+|vdpa\d+|\w+\.vnet\.\d+")
_PAGE = 4096  # an attribute is at most a page long
ARPHRD = {1: devices.LinkType.ETHER, 32: devices.LinkType.INFINIBAND}  # include/uapi/linux/if_arp.h


def text(path: pathlib.Path | str) -> str | None:
    """Read one attribute without its newline. Plain system calls, since a node has thousands of attributes."""
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
    """Read one attribute as a number, decimal or 0x."""
    value = text(path)
    try:
        return None if value is None else int(value, 0)
    except ValueError:
        return None


def target(path: pathlib.Path | str) -> str | None:
    """Return the last component of a link's target: a driver's name, a device's address."""
    parts = link(path)
    return parts[-1] if parts else None


def link(path: pathlib.Path | str) -> tuple[str, ...]:
    """Return the components of a link's target; none if it is not a link."""
    try:
        return tuple(os.readlink(path).split("/"))  # noqa: PTH115 (pathlib takes three times as long)
    except OSError:
        return ()


def names(path: pathlib.Path | str) -> tuple[str, ...]:
    """Return the entries of a directory, sorted; none if there is no such directory."""
    try:
        return tuple(sorted(os.listdir(path)))
    except OSError:
        return ()


class Netdev(msgspec.Struct, frozen=True):
    """A netdev as this namespace's sysfs shows it. `address` is lower case."""

    name: str
    index: int
    address: str
    mtu: int


class _Uplink(msgspec.Struct, frozen=True):
    """The uplink among several netdevs. `links` is the number of entries in their folder, 0 if it does not matter."""

    name: str
    index: str
    links: int

    def is_still(self, folder: str) -> bool:
        if text(f"{folder}/{self.name}/ifindex") != self.index:
            return False
        return not self.links or self.links == _links(folder)


class _Seen(msgspec.Struct):
    """Cache of what need not be read again.

    A port name is read under the kernel's global lock (net/core/net-sysfs.c, phys_port_name_show()), never changes for
    a netdev, and in switchdev mode a PF has one netdev for each VF.
    """

    uplinks: dict[str, _Uplink] = msgspec.field(default_factory=dict)
    ports: dict[str, dict[str, tuple[str, str]]] = msgspec.field(default_factory=dict)  # name: ifindex, port name


class Tree(msgspec.Struct, frozen=True, eq=False):
    """A sysfs: the machine's at /sys, or one that a test has built."""

    root: pathlib.Path = pathlib.Path("/sys")
    _seen: _Seen = msgspec.field(default_factory=_Seen)  # a cache, which does not count in a comparison

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    @property
    def pci_devices(self) -> pathlib.Path:
        return self.root / "bus/pci/devices"

    def pci(self, address: devices.PciAddress) -> pathlib.Path:
        return _folder(self.root, address)

    def birth(self, address: devices.PciAddress) -> int:
        """Return a number that no other device at the same address has: its folder's inode. 0 if there is none."""
        try:
            return os.stat(self.pci(address)).st_ino  # noqa: PTH116
        except OSError:
            return 0

    def netdev_name(self, address: devices.PciAddress) -> str | None:
        """Return the device's netdev in this namespace; of several the uplink, None if that is undecided."""
        folder = f"{self.pci(address)}/net"
        known = self._seen.uplinks.get(folder)
        if known is not None and known.is_still(folder):
            return known.name
        found = names(folder)
        return self._uplink(folder, found) if len(found) > 1 else next(iter(found), None)

    def _uplink(self, folder: str, found: tuple[str, ...]) -> str | None:
        """Find the uplink. It is cached while it exists; if no wire is the evidence, until a netdev comes or goes."""
        links, named = _links(folder), self.port_names(folder, found)
        likely = ports.uplinks(named)
        self._seen.uplinks.pop(folder, None)
        if len(likely) != 1:
            return None
        index = text(f"{folder}/{likely[0]}/ifindex")
        if index is not None:
            self._seen.uplinks[folder] = _Uplink(likely[0], index, 0 if ports.is_wire(named[likely[0]]) else links)
        return likely[0]

    def undecided(self, address: devices.PciAddress) -> tuple[str, ...]:
        """Return the netdevs of which any may be the uplink, if there are several such."""
        folder = f"{self.pci(address)}/net"
        likely = ports.uplinks(self.port_names(folder, names(folder)))
        return likely if len(likely) > 1 else ()

    def port_names(self, folder: str, found: tuple[str, ...]) -> dict[str, str]:
        """Return the port names of these netdevs in `folder`, "" for none. A single netdev is always the uplink."""
        if len(found) < 2:
            return dict.fromkeys(found, "")
        before, now = self._seen.ports.get(folder, {}), {}
        for name in found:
            index = text(f"{folder}/{name}/ifindex") or ""
            known = before.get(name)
            if known is None or not index or known[0] != index:
                known = (index, text(f"{folder}/{name}/phys_port_name") or "")
            now[name] = known
        first = self._seen.ports.get(folder, {})  # another thread's, read in the meantime: it counts
        now |= {name: known for name, known in first.items() if name in now and known[0] == now[name][0] != ""}
        self._seen.ports[folder] = now
        return {name: port for name, (_, port) in now.items()}

    def ifindex(self, address: devices.PciAddress) -> int | None:
        """Return only its netdev's index."""
        name = self.netdev_name(address)
        return None if name is None else integer(f"{self.pci(address)}/net/{name}/ifindex")

    def generation(self, pf: devices.PciAddress) -> tuple[int, ...]:
        """Return a value that changes when new VFs are made, or its card's switch gains or loses its representors."""
        folder = self.pci(pf)
        try:
            first = os.stat(f"{folder}/virtfn0").st_ino  # noqa: PTH116
        except OSError:
            first = 0
        return first, int(len(names(f"{folder}/net")) > 1)

    def netdev(self, address: devices.PciAddress) -> Netdev | None:
        """Return the device's netdev with what an attachment needs of it, without a netlink request."""
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


@functools.lru_cache(maxsize=4096)
def _folder(root: pathlib.Path, address: devices.PciAddress) -> pathlib.Path:
    """Build the path once for each device: an attachment needs it some twenty times."""
    return root / "bus/pci/devices" / address


def _links(folder: str) -> int:
    """Return 2 plus the number of entries of a folder of folders (fs/kernfs/inode.c, kernfs_refresh_inode())."""
    try:
        return os.stat(folder).st_nlink  # noqa: PTH116
    except OSError:
        return 0


def net_folders(folder: str, entries: Collection[str]) -> Iterator[str]:
    """Yield the folders of netdevs of the device in `folder`, whose names are `entries`: its own, then carried ones.

    A folder exists as long as a netdev is in any namespace, and is empty if that is another namespace: the kernel makes
    it with the first netdev and removes it with the last (drivers/base/core.c, class_dir_create_and_add(),
    cleanup_glue_dir()). A virtio NIC has no folder of its own: its netdev is on the virtio device that it carries.
    """
    if "net" in entries:
        yield f"{folder}/net"
    for name in sorted(entries):
        if _CARRIED.fullmatch(name):
            yield from net_folders(f"{folder}/{name}", names(f"{folder}/{name}"))


def is_userspace(folder: str, driver: str | None) -> bool:
    """Report whether the device's driver gives it to a program.

    From Linux 6.1 on every vfio driver, variants such as mlx5_vfio_pci too, makes vfio-dev there
    (drivers/vfio/vfio_main.c, vfio_init_device()).
    """
    return driver in devices.USERSPACE_DRIVERS or os.path.exists(f"{folder}/vfio-dev")  # noqa: PTH110


def without_netdev(folder: str, entries: Collection[str], driver: str | None) -> bool:
    """Report whether the device has a network driver and yet no netdev in any namespace, nor RDMA or vDPA."""
    if driver is None or is_userspace(folder, driver) or next(net_folders(folder, entries), None) is not None:
        return False
    return not any("infiniband" in name or ".rdma." in name or _CARRIED.fullmatch(name) for name in entries)
