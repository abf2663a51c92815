"""Discovery of every device of this node that a pod might be given, with all that is known of it.

PCI network devices (VFs, PFs, plain NICs), processing accelerators, and the subfunctions (SFs) on the auxiliary bus
(Documentation/ABI/testing/sysfs-bus-pci; mlx5 writes `sfnum`, drivers/net/ethernet/mellanox/mlx5/core/sf/dev/dev.c).
A device's folder is listed once, so that nothing is opened that does not exist: a node may have a thousand devices.
"""

import contextlib
import os
import pathlib
import re
import types
from collections.abc import Iterator, Mapping

import msgspec

from sriov import devices, errors
from sriov.hardware import host_networking, node_devices, pci, ports, sysfs
from sriov.hardware.drivers import infiniband, vdpa_devices, vfio

_CLASSES = {"0x02": "netDevice", "0x12": "accelerator"}  # PCI Code and ID Assignment, base classes 02h and 12h
_AUXILIARY = re.compile(r"(?P<driver>[A-Za-z0-9_-]+)\.(?P<type>[A-Za-z0-9_]+)\.\d+")
_SHARED = ("infiniband/rdma_cm", "vhost-net", "net/tun", "iommu")
_IFF_UP = 1  # include/uapi/linux/if.h
_NO_IOMMU = "vfio-noiommu"  # kernel: drivers/vfio/group.c names such a group so


class _Identity(msgspec.Struct, frozen=True):
    """What stays the same while a device exists. Its folder's inode identifies it: kernfs gives each a new one."""

    inode: int
    pci_class: str
    vendor: str
    device: str
    numa_node: int | None
    bridges: tuple[str, ...]
    is_vf: bool = False
    """Whether it was ever seen with its PF: the kernel takes that link from a VF before it removes it."""

    @property
    def whole(self) -> bool:
        """Whether the device was complete when it was read; physfn of a VF comes later still, so it is not here."""
        return bool(self.pci_class and self.vendor and self.device and self.bridges)


Memory = dict[str, _Identity]
"""Identities that need not be read again, by name in /sys/bus/pci/devices; a scan adds and removes entries."""


def scan(tree: sysfs.Tree, proc: pathlib.Path, dev: pathlib.Path, memory: Memory | None = None) -> node_devices.Catalog:
    """Read the node: sysfs, the routes and addresses below `proc`, and the shared device nodes.

    Raises DeviceError if there is no list of PCI devices, which is not the same as an empty list.
    """
    if not tree.pci_devices.is_dir():
        raise errors.DeviceError(f"there is no {tree.pci_devices}", "is sysfs mounted there? name it with --sysfs")
    reader = _Reader(tree, host_networking.finder(proc), vdpa_devices.read(tree), {} if memory is None else memory)
    found = dict(sorted((one.id, one) for one in reader.pci()))
    found |= {one.id: one for one in reader.auxiliary(found)}
    return node_devices.Catalog(
        types.MappingProxyType(found), _shared(tree, dev), types.MappingProxyType(reader.uplinks)
    )


def _shared(tree: sysfs.Tree, dev: pathlib.Path) -> frozenset[str]:
    """List shared device nodes, also by the class of misc devices: an unprivileged container has its own /dev."""
    loaded = sysfs.names(f"{tree.root}/class/misc")
    return frozenset(f"/dev/{path}" for path in _SHARED if path.rpartition("/")[2] in loaded or (dev / path).exists())


def uplink(tree: sysfs.Tree, pf: devices.PciAddress, netdev: str) -> node_devices.Uplink:
    """Return the present state of a PF's netdev."""
    folder = f"{tree.root}/bus/pci/devices/{pf}/net/{netdev}"
    carrier = sysfs.integer(f"{folder}/carrier")
    flags = sysfs.integer(f"{folder}/flags")
    up = flags is None or flags & _IFF_UP != 0
    return node_devices.Uplink(netdev, up, None if carrier is None else carrier == 1)


def difference(tree: sysfs.Tree, one: node_devices.Candidate) -> str | None:
    """Return in what the device has changed since the scan that found it, in words that go on from "it". Three links
    are all that is read: it takes no time, and waits for nobody."""
    folder = f"{tree.pci_devices}/{one.pci}"
    if not os.path.isdir(folder):  # noqa: PTH112 (as above)
        return "is gone"
    if (driver := sysfs.target(f"{folder}/driver")) != one.driver:
        return f"has {driver or 'no driver'} in the place of {one.driver or 'no driver'}"
    if one.role is node_devices.Role.PF and not one.numvfs and pci.vf(folder, 0):
        return "has VFs now"
    is_of_pf = one.role is node_devices.Role.VF and one.pf is not None
    return node_devices.GOING if is_of_pf and pci.is_losing(f"{folder}/physfn") else None


class _Pf(msgspec.Struct, frozen=True):
    """A PF as its VFs need it: their indices by address, and their representors by index."""

    netdev: str | None
    link_type: devices.LinkType
    vfs: Mapping[str, int]
    representors: Mapping[int, str]


class _Reader:
    """One scan; a PF is read when the first of its VFs is."""

    def __init__(
        self,
        tree: sysfs.Tree,
        host_use: host_networking.Lookup,
        vdpa_devices: Mapping[devices.PciAddress, vdpa_devices.Vdpa],
        memory: Memory,
    ) -> None:
        self._tree = tree
        self._root = f"{tree.root}/bus/pci/devices"
        self._host_use = host_use
        self._vdpas = vdpa_devices
        self._memory = memory
        self._pfs: dict[str, _Pf] = {}
        self.uplinks: dict[devices.PciAddress, node_devices.Uplink] = {}

    def pci(self) -> Iterator[node_devices.Candidate]:
        names = sysfs.names(self._root)
        for gone in self._memory.keys() - set(names):
            del self._memory[gone]
        for name in names:
            identity = self._identity(name)
            kind = None if identity is None else _CLASSES.get(identity.pci_class)
            if identity is not None and kind is not None:
                with contextlib.suppress(errors.DeviceError):
                    yield self._device(devices.pci_address(name), identity, accelerator=kind == "accelerator")

    def _identity(self, name: str) -> _Identity | None:
        folder = f"{self._root}/{name}"
        try:
            inode = os.stat(folder).st_ino  # noqa: PTH116 (a thousand times a scan)
        except OSError:
            return None  # the device has just gone
        known = self._memory.get(name)
        if known is None or known.inode != inode:
            known = _identify(folder, inode)
            if known.whole:
                self._memory[name] = known
        return known

    def _device(self, address: devices.PciAddress, identity: _Identity, *, accelerator: bool) -> node_devices.Candidate:
        folder = f"{self._root}/{address}"
        entries = frozenset(sysfs.names(folder))
        physfn = sysfs.target(f"{folder}/physfn") if "physfn" in entries else None
        if physfn is not None and not identity.is_vf and address in self._memory:
            self._memory[address] = msgspec.structs.replace(identity, is_vf=True)
        pf = None if physfn is None else self._pf(physfn)
        netdevs, kind = self._netdevs(folder, entries)
        index = None if pf is None else pf.vfs.get(address)
        driver = sysfs.target(f"{folder}/driver") if "driver" in entries else None
        return node_devices.Candidate(
            id=address,
            role=_role(entries, accelerator=accelerator),
            pci=address,
            vendor=identity.vendor,
            device=identity.device,
            driver=driver,
            numa_node=identity.numa_node,
            pf=None if physfn is None else devices.pci_address(physfn),
            pf_netdev=None if pf is None else pf.netdev,
            index=index,
            netdevs=netdevs,
            link_type=kind if pf is None or kind is not devices.LinkType.UNKNOWN else pf.link_type,
            bridges=identity.bridges,
            acpi_index=sysfs.text(f"{folder}/acpi_index") if "acpi_index" in entries else None,
            iommu=_iommu(folder) if "iommu_group" in entries else None,
            vfio=self._vfio(folder, entries, driver),
            uio=next(iter(sysfs.names(f"{folder}/uio")), None) if "uio" in entries else None,
            rdma=infiniband.read(folder, entries),
            vdpa=self._vdpas.get(address),
            representor=None if pf is None or index is None else pf.representors.get(index),
            numvfs=pci.count(entries),
            host_use=self._used(folder, entries, netdevs),
            without_netdev=sysfs.without_netdev(folder, entries, driver),
            going=identity.is_vf if pf is None else 0 not in pf.vfs.values(),
        )

    def _vfio(self, folder: str, entries: frozenset[str], driver: str | None) -> node_devices.Vfio | None:
        if driver != "vfio-pci" and "vfio-dev" not in entries:
            return None
        named = sysfs.names(f"{folder}/vfio-dev")
        made = (name for name in named if sysfs.text(f"{folder}/vfio-dev/{name}/dev") is not None)
        return node_devices.Vfio(next(made, None), vfio.is_open(self._tree, folder))

    def auxiliary(self, parents: Mapping[str, node_devices.Candidate]) -> Iterator[node_devices.Candidate]:
        """Yield the auxiliary devices that are on a network device."""
        root = f"{self._tree.root}/bus/auxiliary/devices"
        for name in sysfs.names(root):
            matched = _AUXILIARY.fullmatch(name)
            parent = parents.get(_parent_pci(f"{root}/{name}"))
            if matched is not None and parent is not None and parent.role is not node_devices.Role.ACCELERATOR:
                yield self._auxiliary(f"{root}/{name}", name, matched["type"], parent)

    def _auxiliary(
        self, folder: str, name: str, aux_type: str, parent: node_devices.Candidate
    ) -> node_devices.Candidate:
        entries = frozenset(sysfs.names(folder))
        netdevs, kind = self._netdevs(folder, entries)
        pf = self._pf(parent.pf or parent.pci)
        return msgspec.structs.replace(
            parent,
            id=name,
            role=node_devices.Role.SF if aux_type == "sf" else node_devices.Role.AUXILIARY,
            pf=parent.pf or parent.pci,
            pf_netdev=pf.netdev,
            index=sysfs.integer(f"{folder}/sfnum"),
            netdevs=netdevs,
            link_type=kind if kind is not devices.LinkType.UNKNOWN else pf.link_type,
            iommu=None,
            vfio=None,
            uio=None,
            rdma=infiniband.read(folder, entries),
            vdpa=None,
            representor=None,
            aux_type=aux_type,
            numvfs=0,
            without_netdev=False,
            going=False,
            host_use=self._used(folder, entries, netdevs),
        )

    def _pf(self, pf: str) -> _Pf:
        known = self._pfs.get(pf)
        if known is None:
            known = self._pfs[pf] = self._read_pf(devices.pci_address(pf))
        return known

    def _read_pf(self, address: devices.PciAddress) -> _Pf:
        folder = f"{self._root}/{address}"
        netdev = self._tree.netdev_name(address)
        if netdev is not None:
            self.uplinks[address] = uplink(self._tree, address, netdev)
        named = self._tree.port_names(f"{folder}/net", sysfs.names(f"{folder}/net"))
        beside = {ports.vf_of(port): name for name, port in named.items() if name != netdev}
        return _Pf(
            netdev,
            self._tree.link_type(address, netdev),
            {target: index for index, target in pci.virtfns(folder).items()},
            {index: name for index, name in beside.items() if index is not None},
        )

    def _netdevs(self, folder: str, entries: frozenset[str]) -> tuple[tuple[str, ...], devices.LinkType]:
        """Return its netdevs in this namespace, without ports of its card's switch, and the first one's link type."""
        where = next(sysfs.net_folders(folder, entries), f"{folder}/net")
        named = self._tree.port_names(where, sysfs.names(where))
        found = tuple(name for name, port in named.items() if not ports.is_of_switch(port))
        kind = sysfs.integer(f"{where}/{found[0]}/type") if found else None
        return found, sysfs.ARPHRD.get(kind or 0, devices.LinkType.UNKNOWN)

    def _used(self, folder: str, entries: frozenset[str], netdevs: tuple[str, ...]) -> host_networking.HostUse | None:
        """Return how the host uses the device: by its own `netdevs`, or by any netdev of a device it carries."""
        uses = (
            self._host_use(name, f"{where}/{name}")
            for where in sysfs.net_folders(folder, entries)
            for name in sysfs.names(where)
            if name in netdevs or where != f"{folder}/net"
        )
        return next(filter(None, uses), None)


def _role(entries: frozenset[str], *, accelerator: bool) -> node_devices.Role:
    if accelerator:
        return node_devices.Role.ACCELERATOR
    if "physfn" in entries:
        return node_devices.Role.VF
    return node_devices.Role.PF if "sriov_totalvfs" in entries else node_devices.Role.NIC


def _identify(folder: str, inode: int) -> _Identity:
    return _Identity(
        inode,
        (sysfs.text(f"{folder}/class") or "")[:4],
        _id(folder, "vendor"),
        _id(folder, "device"),
        pci.numa_node(folder),
        pci.bridges(folder),
    )


def _id(folder: str, name: str) -> str:
    return (sysfs.text(f"{folder}/{name}") or "").removeprefix("0x")


def _iommu(folder: str) -> node_devices.IommuGroup | None:
    number = sysfs.target(f"{folder}/iommu_group")
    if number is None:
        return None
    return node_devices.IommuGroup(number, sysfs.text(f"{folder}/iommu_group/name") == _NO_IOMMU)


def _parent_pci(link: str) -> str:
    """Return the PCI device that an auxiliary device is on: the part before its own name in the bus's link."""
    return "".join(sysfs.link(link)[-2:-1])
