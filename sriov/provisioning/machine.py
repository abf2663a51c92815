"""Machine that carries out one step: a write to sysfs, a request to the kernel or to a card's switch. Decides nothing.

Every device is looked up again by PCI address, since an earlier step may have brought another netdev.

A VF that gets its driver must have the address that its PF administers. igb sends it in the answer to the VF's
reset and at no other time. If igbvf misses this answer, as when igb's message to all VFs comes first, it takes a random
address (igbvf_probe() in drivers/net/ethernet/intel/igbvf/netdev.c, igb_vf_reset_msg() and igb_ping_all_vfs() in
../igb/igb_main.c), and nothing fails. So the address is read back.
"""

import operator
from collections.abc import Callable

import msgspec

from sriov import devices, errors, polling, settings
from sriov.hardware import pci, sysfs
from sriov.linux import kernel, sysfs_writes
from sriov.provisioning import model, observe, policies
from sriov.provisioning.steps import Act, ProvisioningStep

_SETTINGS = {Act.MAC: settings.Setting.MAC, Act.SPOOFCHK: settings.Setting.SPOOFCHK, Act.TRUST: settings.Setting.TRUST}


class Machine(msgspec.Struct, frozen=True):
    """Carries out steps. `patience` is how many seconds a driver may take to bring a netdev."""

    node: observe.NodeAccess
    attributes: sysfs_writes.Attributes
    patience: float = 10.0

    def do(self, step: ProvisioningStep) -> None:
        """Carry out the step. Raises SriovError; the step may be half done then."""
        doing: dict[Act, Callable[[ProvisioningStep], None]] = {
            Act.NUMVFS: self._set_numvfs,
            Act.ESWITCH: self._set_eswitch,
            Act.UP: lambda step: self._change(step.pf, kernel.Change(up=step.after)),
            Act.MTU: lambda step: self._change(self._device(step), kernel.Change(mtu=step.after)),
            Act.AUTOPROBE: lambda step: self._write(step.pf, "sriov_drivers_autoprobe", str(int(step.after))),
            Act.ADDRESS: self._set_address,
            Act.DRIVER: self._bind,
            Act.DEFAULTS: self._declare,
        }
        doing.get(step.act, self._administer)(step)

    def in_the_way(self, step: ProvisioningStep) -> tuple[devices.PciAddress, str] | None:
        """Return a VF that the step would touch and that is now in use, and its user; None if there is none."""
        if not step.touches:
            return None
        touched = self._vfs(step.pf) if step.removes else [self._device(step)]
        users = self.node.users()
        return next(((pci, user) for pci in touched if (user := users.user(pci))), None)

    def _set_numvfs(self, step: ProvisioningStep) -> None:
        gone = self._vfs(step.pf) if step.removes else []
        self._write(step.pf, "sriov_numvfs", str(step.after))
        self._until(lambda: len(self._vfs(step.pf)) == step.after, f"the VFs of {step.label} to be {step.after}")
        for vf in gone:
            self.node.book.defaults.declare(self.node.tree, vf, settings.UNNAMED)
        for vf in self._vfs(step.pf):
            self._settle(vf)

    def _set_eswitch(self, step: ProvisioningStep) -> None:
        with self.node.switches() as switches:
            switches.set_mode("pci", step.pf, step.after)
        self._until(lambda: self._netdev(step.pf) is not None, f"{step.pf} to have a netdev again")

    def _administer(self, step: ProvisioningStep) -> None:
        wanted = msgspec.structs.replace(settings.BASELINE, **{step.act.value: step.after})
        assert step.vf is not None
        with self.node.kernel() as net:
            net.set_vf(self._found(step.pf).index, step.vf, wanted, {_SETTINGS[step.act]})
        if step.act is Act.MAC:
            self.node.book.identities.forget(self._device(step))

    def _declare(self, step: ProvisioningStep) -> None:
        self.node.book.defaults.declare(self.node.tree, self._device(step), step.after)

    def _set_address(self, step: ProvisioningStep) -> None:
        """Set the VF's own address: what was remembered of it is not true any more."""
        pci = self._device(step)
        if self._found(pci).address != step.after:  # a driver may refuse the address that it already has
            self._change(pci, kernel.Change(address=step.after))
        self.node.book.identities.forget(pci)
        if (kept := self._found(pci).address) != step.after:
            raise errors.DeviceError(
                f"{step.label} keeps address {kept} and does not take {step.after}",
                "look at the kernel's log, and whether its PF is up",
            )

    def _bind(self, step: ProvisioningStep) -> None:
        """Bind the driver. driver_override comes first: it keeps other drivers away (drivers/pci/pci-driver.c)."""
        pci, wanted, mac = self._device(step), step.after, self._mac_by_pf(step)
        self._write(pci, "driver_override", wanted.override or "")
        if self._driver(pci) is not None:
            self.attributes.write(f"bus/pci/devices/{pci}/driver/unbind", pci)
        if wanted.driver is None:
            return
        self.attributes.write("bus/pci/drivers_probe", pci)
        self._check_driver(step, pci, wanted)
        self._settle(pci)
        if mac != settings.NO_MAC and not self._has(step, mac):
            self._state_again(step, mac)

    def _check_driver(self, step: ProvisioningStep, pci: devices.PciAddress, wanted: model.Binding) -> None:
        """Check the driver: drivers_probe reports nothing if no driver took the device."""
        bound = self._driver(pci)
        if bound is None or wanted.driver not in (bound, policies.DEFAULT_DRIVER):
            raise errors.DeviceError(
                f"{step.label} ({pci}) has driver {bound or 'none'} and not {wanted.driver}",
                "is the driver loaded, and is there an IOMMU? look at the kernel's log",
            )

    def _mac_by_pf(self, step: ProvisioningStep) -> str:
        """Return the VF's address as its PF reports it; NO_MAC if that cannot be read."""
        assert step.vf is not None
        pf = self._netdev(step.pf)
        with self.node.kernel() as net:
            shown = pf and observe.shown(net, pf.index, step.vf)
        return shown.mac if shown else settings.NO_MAC

    def _has(self, step: ProvisioningStep, mac: str) -> bool:
        netdev = self._netdev(self._device(step))
        return netdev is None or (netdev.address, self._mac_by_pf(step)) == (mac, mac)

    def _state_again(self, step: ProvisioningStep, mac: str) -> None:
        """State the address again: a VF takes it while none is administered; igb does not pass on a later one."""
        for act, value in ((Act.MAC, settings.NO_MAC), (Act.ADDRESS, mac), (Act.MAC, mac)):
            self.do(msgspec.structs.replace(step, act=act, after=value))

    def _change(self, pci: devices.PciAddress, change: kernel.Change) -> None:
        found = self._found(pci)
        with self.node.kernel() as net:
            net.set_link(found.index, change)

    def _found(self, pci: devices.PciAddress) -> sysfs.Netdev:
        what = f"{pci} to have a netdev: its driver {self._driver(pci) or 'none'} has brought none"
        self._until(lambda: self._netdev(pci) is not None, what)
        found = self._netdev(pci)
        assert found is not None
        return found

    def _netdev(self, pci: devices.PciAddress) -> sysfs.Netdev | None:
        return self.node.tree.netdev(pci)

    def _driver(self, pci: devices.PciAddress) -> str | None:
        return sysfs.target(self.node.tree.pci(pci) / "driver")

    def _settle(self, pci: devices.PciAddress) -> None:
        """Wait for the netdev: some drivers bring it after they are bound (iavf); before, the VF seems to be away."""
        polling.until(lambda: self._awaits_netdev(pci), operator.not_, self.patience)

    def _awaits_netdev(self, pci: devices.PciAddress) -> bool:
        driver = self._driver(pci)
        if driver is None or sysfs.is_userspace(str(self.node.tree.pci(pci)), driver):
            return False
        return self._netdev(pci) is None

    def _until(self, there: Callable[[], bool], what: str) -> None:
        if not polling.until(there, bool, self.patience):
            raise errors.BusyError(f"waited {self.patience:.0f} s for {what}", "look at the kernel's log")

    def _vfs(self, pf: devices.PciAddress) -> list[devices.PciAddress]:
        return list(pci.vfs(self.node.tree.pci(pf)).values())

    def _device(self, step: ProvisioningStep) -> devices.PciAddress:
        if step.vf is None:
            return step.pf
        return devices.pci_address(pci.vf(self.node.tree.pci(step.pf), step.vf))

    def _write(self, pci: devices.PciAddress, attribute: str, value: str) -> None:
        self.attributes.write(f"bus/pci/devices/{pci}/{attribute}", value)
