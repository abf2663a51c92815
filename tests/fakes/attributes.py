"""sysfs writes in a World: what the kernel does when VFs are made and bound to drivers.

drivers/pci/iov.c: sriov_numvfs_store(), sriov_drivers_autoprobe_store(); drivers/pci/pci-driver.c:
pci_device_can_probe(), driver_override; drivers/base/bus.c: drivers_probe_store(), unbind_store().
"""

import errno

from sriov import devices, errors
from sriov.hardware import sysfs
from sriov.provisioning import observe
from tests.fakes import world as worlds

USERSPACE = "vfio-pci"


class WorldAttributes:
    """`own` is the driver that the kernel has for VFs; `refuse` are attributes whose writes fail, with an errno."""

    def __init__(self, world: worlds.World, own: str = "igbvf") -> None:
        self._world = world
        self._own = own
        self._tree = world.node.tree
        self.refuse: dict[str, int] = {}
        (self._tree.root / "bus/pci/drivers" / USERSPACE).mkdir(parents=True, exist_ok=True)

    def write(self, path: str, value: str) -> None:
        self._request = f"write {value!r} to {path}"
        name = path.rpartition("/")[2]
        if code := self.refuse.get(name):
            raise errors.KernelError(self._request, code)
        if name == "drivers_probe":
            self._probe(devices.pci_address(value))
            return
        pci = devices.pci_address(path.split("/")[3])
        {
            "sriov_numvfs": self._set_numvfs,
            "sriov_drivers_autoprobe": lambda pci, value: self._world.node.set_attribute(
                pci, "sriov_drivers_autoprobe", value
            ),
            "driver_override": self._set_override,
            "unbind": self._unbind,
        }[name](pci, value)

    def _set_numvfs(self, pf: devices.PciAddress, value: str) -> None:
        folder, wanted = self._tree.pci(pf), int(value)
        now = sysfs.integer(folder / "sriov_numvfs") or 0
        if wanted > (sysfs.integer(folder / "sriov_totalvfs") or 0):
            raise errors.KernelError(self._request, errno.ERANGE)
        if now == wanted:
            return
        if now and wanted:
            raise errors.KernelError(self._request, errno.EBUSY)
        self._world.set_numvfs(pf, wanted, autoprobe=self._autoprobes(pf))

    def _autoprobes(self, pf: devices.PciAddress) -> bool:
        return sysfs.integer(self._tree.pci(pf) / "sriov_drivers_autoprobe") == 1

    def _set_override(self, vf: devices.PciAddress, value: str) -> None:
        self._world.node.set_attribute(vf, "driver_override", value or "(null)")

    def _unbind(self, vf: devices.PciAddress, value: str) -> None:
        if sysfs.target(self._tree.pci(vf) / "driver") is None or value != vf:
            raise errors.KernelError(self._request, errno.ENOENT)
        self._world.unbind(vf)

    def _probe(self, vf: devices.PciAddress) -> None:
        """Bind the VF. If the driver is not loaded nothing happens, and drivers_probe reports no error."""
        folder = self._tree.pci(vf)
        if sysfs.target(folder / "driver") is not None:
            return
        override = observe.override(self._tree, vf)
        if override == USERSPACE:
            self._world.node.set_driver(vf, override)
        elif override == self._own or (override is None and self._autoprobes(self._pf(vf))):
            self._world.bind(vf)

    def _pf(self, vf: devices.PciAddress) -> devices.PciAddress:
        return devices.pci_address(sysfs.target(self._tree.pci(vf) / "physfn"))


class WorldSwitches:
    """Switches of cards by device; a card not listed has none. Like mlx5, it changes its mode only without VFs."""

    def __init__(self, world: worlds.World, modes: dict[str, devices.EswitchMode]) -> None:
        self._world = world
        self.modes = modes

    def mode(self, bus: str, device: str) -> devices.EswitchMode | None:
        return self.modes.get(device)

    def set_mode(self, bus: str, device: str, mode: devices.EswitchMode) -> None:
        request = f"set the eswitch mode of {bus}/{device} to {mode.value}"
        if device not in self.modes:
            raise errors.KernelError(request, errno.ENODEV)
        if sysfs.integer(self._world.node.tree.pci(devices.pci_address(device)) / "sriov_numvfs"):
            raise errors.KernelError(request, errno.EBUSY)
        self.modes[device] = mode
