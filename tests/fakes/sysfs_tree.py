"""Builder of a sysfs tree of PFs and VFs in a folder, with the kernel's layout, which changes it as the kernel would.

The defaults are an Intel 82576 as QEMU emulates it (igb: VF offset 0x80, stride 2).
"""

import ctypes
import dataclasses
import os
import pathlib
import shutil
import tempfile
import types
from collections.abc import Iterable, Mapping

from sriov import devices
from sriov.hardware import sysfs

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_ARPHRD = {devices.LinkType.ETHER: 1, devices.LinkType.INFINIBAND: 32}


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """Ids and SR-IOV capability of a NIC's functions. `offset` and `stride` are the capability's."""

    vendor: str = "8086"
    pf_device: str = "10c9"
    vf_device: str = "10ca"
    pf_driver: str = "igb"
    vf_driver: str = "igbvf"
    totalvfs: int = 7
    offset: int = 0x80
    stride: int = 2
    numa_node: int = -1
    link_type: devices.LinkType = devices.LinkType.ETHER


NO_PORTS: Mapping[str, str] = types.MappingProxyType({})
IGB = Model()
LARGE = Model("15b3", "1017", "1018", "mlx5_core", "mlx5_core", totalvfs=256, offset=1, stride=1)


class SysfsTree:
    """A sysfs under `root`; `tree` is how the product reads it."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.tree = sysfs.Tree(root)
        self._models: dict[str, Model] = {}
        self._below: dict[str, str] = {}  # bridges by PCI bus
        self._folders: dict[str, pathlib.Path] = {}
        self._carriers: dict[str, tuple[int, int]] = {}
        (root / "bus/pci/devices").mkdir(parents=True, exist_ok=True)

    def add_pf(
        self, pci: str, netdev: sysfs.Netdev | None, model: Model = IGB, numvfs: int = 0, below: str = ""
    ) -> devices.PciAddress:
        """Add a PF with `numvfs` VFs; set_netdev adds VF netdevs, as a driver brings them later.

        `below` are the PCI bridges between root and PF, as in `0000:00:01.0/0000:02:00.0`.
        """
        self._below[pci.rpartition(":")[0]] = below
        self._folders.clear()
        address = self._add_device(pci, model.vendor, model.pf_device, model)
        self._models[address] = model
        self._write(address, "sriov_totalvfs", model.totalvfs)
        self._write(address, "sriov_offset", model.offset)
        self._write(address, "sriov_stride", model.stride)
        self._write(address, "sriov_numvfs", 0)
        self._write(address, "sriov_drivers_autoprobe", 1)
        self.set_driver(address, model.pf_driver)
        self.set_netdev(address, netdev)
        self.set_numvfs(address, numvfs)
        return address

    def add_plain_nic(self, pci: str, netdev: sysfs.Netdev | None, model: Model = IGB) -> devices.PciAddress:
        """Add a NIC without the SR-IOV capability."""
        address = self._add_device(pci, model.vendor, model.pf_device, model)
        self.set_driver(address, model.pf_driver)
        self.set_netdev(address, netdev)
        return address

    def set_numvfs(self, pf: devices.PciAddress, numvfs: int) -> tuple[devices.PciAddress, ...]:
        """Remove the PF's VFs and create `numvfs` new ones; returns their addresses in index order."""
        model = self._models[pf]
        for link in self._folder(pf).glob("virtfn*"):
            self.remove(devices.pci_address(link.readlink().name))
            link.unlink()
        self._write(pf, "sriov_numvfs", numvfs)
        return tuple(self._add_vf(pf, model, index) for index in range(numvfs))

    def set_driver(self, address: devices.PciAddress, driver: str | None) -> None:
        link = self._folder(address) / "driver"
        link.unlink(missing_ok=True)
        if driver is not None:
            folder = self.root / "bus/pci/drivers" / driver
            folder.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"../../../bus/pci/drivers/{driver}")

    def set_carrier(self, address: devices.PciAddress, carrier: bool, changes: int) -> None:
        """Set the carrier of the device's netdev, also under another name."""
        self._carriers[address] = (int(carrier), changes)
        for folder in (self._folder(address) / "net").iterdir():
            (folder / "carrier").write_text(f"{int(carrier)}\n")
            (folder / "carrier_changes").write_text(f"{changes}\n")

    def set_netdev(
        self, address: devices.PciAddress, *netdevs: sysfs.Netdev | None, ports: Mapping[str, str] = NO_PORTS
    ) -> None:
        """Show these netdevs below the device, with port names by netdev; a VF in another namespace shows none."""
        folder = self._folder(address) / "net"
        if not any(netdevs) and not folder.exists():
            folder.mkdir()
            return
        made = pathlib.Path(tempfile.mkdtemp(dir=self.root, prefix="net-"))
        made.chmod(0o755)
        self._fill(made, address, netdevs)
        for name, port in ports.items():
            (made / name / "phys_port_name").write_text(f"{port}\n")
        if folder.exists():
            _exchange(made, folder)  # a concurrent reader finds the former or the new
            _remove(made)
        else:
            made.rename(folder)

    def _fill(self, folder: pathlib.Path, address: devices.PciAddress, netdevs: Iterable[sysfs.Netdev | None]) -> None:
        for netdev in filter(None, netdevs):
            (folder / netdev.name).mkdir()
            values = {
                "ifindex": netdev.index,
                "address": netdev.address,
                "mtu": netdev.mtu,
                "type": self._arphrd(address),
                **dict(zip(("carrier", "carrier_changes"), self._carriers.get(address, ()), strict=False)),
            }
            for name, value in values.items():
                _put(f"{folder}/{netdev.name}/{name}", value)

    def add_accelerator(
        self, pci: str, vendor: str = "8086", device: str = "0d5c", driver: str | None = "pci-pf-stub"
    ) -> devices.PciAddress:
        """Add a processing accelerator, PCI class 12h."""
        address = self._add_device(pci, vendor, device, IGB)
        self._write(address, "class", "0x120000")
        self.set_driver(address, driver)
        return address

    def add_sf(
        self, pf: devices.PciAddress, name: str, number: int, netdev: sysfs.Netdev | None = None
    ) -> pathlib.Path:
        """Add an auxiliary device as in `mlx5_core.sf.4`, a subfunction of that number; returns its folder."""
        folder = self._folder(pf) / name
        (folder / "net").mkdir(parents=True)
        (folder / "sfnum").write_text(f"{number}\n")
        if netdev is not None:
            (folder / "net" / netdev.name).mkdir()
            (folder / "net" / netdev.name / "type").write_text(f"{self._arphrd(pf)}\n")
        self._link("bus/auxiliary/devices", name, folder)
        return folder

    def set_iommu_group(self, address: devices.PciAddress, number: int, name: str | None = None) -> None:
        """Set the group. `name` is vfio-noiommu if there is no IOMMU."""
        folder = self.root / "kernel/iommu_groups" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        if name is not None:
            (folder / "name").write_text(f"{name}\n")
        link = self._folder(address) / "iommu_group"
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(folder, link.parent))

    def set_rdma(
        self,
        address: devices.PciAddress | pathlib.Path,
        number: int,
        *,
        pkey: int = 0xFFFF,
        at_home: bool = True,
        name: str = "",
        umad: int | None = None,
    ) -> None:
        """Set RDMA device `mlx5_NUMBER` with its character devices; in another namespace only those are seen.

        `umad` is the number of two of these, if it is another one.
        """
        mad = number if umad is None else umad
        folder = address if isinstance(address, pathlib.Path) else self._folder(address)
        device = folder / "infiniband" / (name or f"mlx5_{number}")
        shutil.rmtree(device, ignore_errors=True)
        for node in (
            f"infiniband_verbs/uverbs{number}",
            f"infiniband_mad/umad{mad}",
            f"infiniband_mad/issm{mad}",
        ):
            (folder / node).mkdir(parents=True, exist_ok=True)
            if not (folder / node / "device").is_symlink():
                (folder / node / "device").symlink_to(f"../../../{folder.name}")
                self._link(f"class/{node.partition('/')[0]}", node.rpartition("/")[2], folder / node)
        if at_home:
            keys = device / "ports/1/pkeys"
            keys.mkdir(parents=True)
            (keys / "0").write_text(f"0x{pkey:04x}\n")
        elif device.parent.exists() and not any(device.parent.iterdir()):
            device.parent.rmdir()

    def clear_rdma(self, address: devices.PciAddress) -> None:
        """Remove the RDMA device, wherever it was: the device has lost its driver."""
        for name in ("infiniband", "infiniband_verbs", "infiniband_mad"):
            folder = self._folder(address) / name
            for node in folder.glob("*"):
                (self.root / "class" / name / node.name).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    def set_vdpa(self, address: devices.PciAddress, number: int, driver: str = "vhost_vdpa") -> None:
        """Set vDPA device `vdpaNUMBER` on the device."""
        folder = self._folder(address) / f"vdpa{number}"
        folder.mkdir()
        (self.root / "bus/vdpa/drivers" / driver).mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(f"../../../../bus/vdpa/drivers/{driver}")
        if driver == "vhost_vdpa":
            (folder / f"vhost-vdpa-{number}").mkdir()
        self._link("bus/vdpa/devices", f"vdpa{number}", folder)

    def set_bare(self, address: devices.PciAddress) -> None:
        """Remove the net folder: the kernel does so when no namespace has a netdev of the device any more."""
        shutil.rmtree(self._folder(address) / "net", ignore_errors=True)

    def set_vfio(self, address: devices.PciAddress, driver: str, device: str | None, *, cdev: bool = False) -> None:
        """Bind a vfio driver, asleep; `device` is its name in vfio-dev, None on kernels before 6.1."""
        self.set_bare(address)
        self.set_driver(address, driver)
        (self._folder(address) / "power").mkdir(exist_ok=True)
        self._write(address, "power/control", "auto")
        self.set_open(address, False)
        if device is not None:
            (self._folder(address) / "vfio-dev" / device).mkdir(parents=True)
        if cdev:
            self._write(address, f"vfio-dev/{device}/dev", "511:3")

    def set_open(self, address: devices.PciAddress, is_open: bool) -> None:
        """Set whether a program has the vfio device open."""
        self._write(address, "power/runtime_status", "active" if is_open else "suspended")

    def set_virtio(self, address: devices.PciAddress, name: str, netdev: sysfs.Netdev) -> None:
        """Let the device carry `virtio2`, or `vdpa0/virtio2`, which has this netdev; it has none of its own."""
        shutil.rmtree(self._folder(address) / "net", ignore_errors=True)
        (self._folder(address) / name / "net" / netdev.name).mkdir(parents=True)
        self._write(address, f"{name}/net/{netdev.name}/type", 1)
        self._write(address, f"{name}/net/{netdev.name}/ifindex", netdev.index)

    def set_uio(self, address: devices.PciAddress, name: str) -> None:
        (self._folder(address) / "uio" / name).mkdir(parents=True)

    def set_master(self, address: devices.PciAddress, netdev: str, master: str) -> None:
        """Make the netdev a port of a bond or bridge."""
        (self.root / "devices/virtual/net" / master).mkdir(parents=True, exist_ok=True)
        (self._folder(address) / "net" / netdev / "master").symlink_to(f"../../../../virtual/net/{master}")

    def set_misc(self, *names: str) -> None:
        """Add misc devices of the kernel: rdma_cm, vhost-net, tun."""
        for name in names:
            (self.root / "class/misc" / name).mkdir(parents=True, exist_ok=True)

    def set_attribute(self, address: devices.PciAddress, name: str, value: object) -> None:
        """Write any attribute below the device, such as numa_node or net/eth0/phys_port_name."""
        self._write(address, name, value)

    def remove(self, address: devices.PciAddress) -> None:
        """Hot-unplug the device."""
        (self.root / "bus/pci/devices" / address).unlink(missing_ok=True)
        self.clear_rdma(address)
        shutil.rmtree(self._folder(address), ignore_errors=True)

    def _add_vf(self, pf: devices.PciAddress, model: Model, index: int) -> devices.PciAddress:
        number = devices.routing_id(pf) + model.offset + index * model.stride
        pci = f"{pf.split(':')[0]}:{number >> 8:02x}:{number >> 3 & 0x1F:02x}.{number & 7}"
        address = self._add_device(pci, model.vendor, model.vf_device, model)
        self._models[address] = model
        (self._folder(pf) / f"virtfn{index}").symlink_to(f"../{address}")
        (self._folder(address) / "physfn").symlink_to(f"../{pf}")
        self._write(address, "driver_override", "(null)")
        self.set_driver(address, model.vf_driver)
        self.set_netdev(address, None)
        return address

    def _add_device(self, pci: str, vendor: str, device: str, model: Model) -> devices.PciAddress:
        address = devices.pci_address(pci)
        self._folder(address).mkdir(parents=True)
        self._write(address, "class", "0x020000")
        self._write(address, "vendor", f"0x{vendor}")
        self._write(address, "device", f"0x{device}")
        self._write(address, "numa_node", model.numa_node)
        # Last, as in the kernel (drivers/base/core.c, device_add); of a VF, physfn comes later still.
        self._link("bus/pci/devices", address, self._folder(address))
        return address

    def _arphrd(self, address: devices.PciAddress) -> int:
        return _ARPHRD[self._models.get(address, IGB).link_type]

    def _link(self, folder: str, name: str, target: pathlib.Path) -> None:
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / folder / name).symlink_to(os.path.relpath(target, self.root / folder))

    def _folder(self, address: devices.PciAddress) -> pathlib.Path:
        if address not in self._folders:
            below = self._below.get(address.rpartition(":")[0], "")
            self._folders[address] = self.root / "devices/pci0000:00" / below / address
        return self._folders[address]

    def _write(self, address: devices.PciAddress, name: str, value: object) -> None:
        _put(f"{self._folder(address)}/{name}", value)


def _put(path: str, value: object) -> None:
    """Write as pathlib does, in a quarter of its time: tests make a hundred thousand of these files."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        os.write(file, f"{value}\n".encode())
    finally:
        os.close(file)


def _remove(folder: pathlib.Path) -> None:
    """Remove a folder that is empty in most cases."""
    try:
        folder.rmdir()
    except OSError:
        shutil.rmtree(folder)


def _exchange(one: pathlib.Path, other: pathlib.Path) -> None:
    """Exchange the two names at once (renameat2(2))."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), f"exchange {one} and {other}")
