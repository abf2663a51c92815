"""The node an attachment happens on: its sysfs, its kernel, the namespace that is home to every free VF."""

import dataclasses
import errno
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from sriov import devices, errors, timing
from sriov.attachment import vf_config
from sriov.hardware import inventory, mailboxes, sysfs
from sriov.linux import kernel, netns, sysfs_writes

_T = TypeVar("_T")

# A PF's driver talks to firmware or to the VF through one mailbox, which a burst of pods finds in use. A VF that is
# being reset refuses what it is told meanwhile: iavf_open(), iavf_change_mtu(), iavf_set_mac() in iavf_main.c.
_PASSING = frozenset({errno.EBUSY, errno.EAGAIN})
PATIENCE = 3.0  # seconds
_PAUSE = (0.01, 0.1)  # seconds, drawn anew each time so that a burst does not come back as one


class AttachmentStep(timing.Step):
    """What is timed of an attachment: what its PF is told, moves, what is set in the pod, the look at a VF's return."""

    PF = "PF settings"
    MOVE = "move"
    POD = "pod settings"
    COMPARE = "comparison"


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """Made once a process. `kernel` opens requests in the host's namespace for the calling thread.

    `patience` is how many seconds to wait for what takes its own time: a VF of a destroyed namespace on its way home, a
    driver that is busy. `writer` writes to sysfs; None where nobody may. `rdma_turn` is held by whoever moves an RDMA
    device.
    """

    tree: sysfs.Tree
    kernel: Callable[[], AbstractContextManager[kernel.Kernel]]
    home: netns.Netns
    unsupported: vf_config.Unsupported = dataclasses.field(default_factory=vf_config.Unsupported)
    heard: mailboxes.Heard = dataclasses.field(default_factory=mailboxes.Heard)
    patience: float = PATIENCE
    writer: sysfs_writes.Attributes | None = None
    rdma_turn: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def rebind(self, pci: devices.PciAddress) -> None:
        """Take the device's driver away and give it back, which makes its netdev anew. Raises KernelError."""
        folder = self.tree.pci(pci)
        # Without it the kernel would not give the VF a driver again (pci_device_can_probe(), drivers/pci/pci-driver.c).
        probes = sysfs.integer(folder / "physfn/sriov_drivers_autoprobe") != 0
        if self.writer is None or not probes:
            raise errors.KernelError(f"bind VF {pci} to its driver anew", errno.EACCES, "bind it by hand")
        self.writer.write(f"bus/pci/devices/{pci}/driver/unbind", pci)
        self.writer.write("bus/pci/drivers_probe", pci)

    def target(self, vf: devices.VF, own_mac: str) -> vf_config.Target | None:
        """How the PF addresses the VF; None where it is on another machine. Raises as `uplink`."""
        if vf.pf is None:
            return None
        index = self.tree.ifindex(vf.pf)
        if index is None:
            raise self._without_uplink(vf, vf.pf)
        return vf_config.Target(index, vf.index, own_mac, self.tree.generation(vf.pf))

    def uplink(self, vf: devices.VF) -> sysfs.Netdev | None:
        """The netdev of the VF's PF, which sets it; None where it is on another machine.

        Raises BusyError where it has none, which a driver may still bring, and DeviceError where it has several.
        """
        if vf.pf is None:
            return None
        pf = self.tree.netdev(vf.pf)
        if pf is None:
            raise self._without_uplink(vf, vf.pf)
        return pf

    def _without_uplink(self, vf: devices.VF, pf: devices.PciAddress) -> errors.SriovError:
        busy = errors.BusyError(f"PF {pf} of VF {vf.pci} has no netdev", "is its driver loaded?")
        return self.undecided(pf) or busy

    def undecided(self, pci: devices.PciAddress) -> errors.DeviceError | None:
        """Why a device whose netdev is not known has none that could be used, now or later; None if it may come."""
        found = self.tree.undecided(pci)
        if not found:
            return None
        return errors.DeviceError(
            f"{pci} has several netdevs and no port name tells which is its uplink: {', '.join(found)}",
            "use a card that has a function for each port; docs/nics.md says how an uplink is told",
        )

    def lookup(self, pci: devices.PciAddress) -> devices.VF:
        """The VF as sysfs shows it now. Raises DeviceError."""
        return inventory.lookup(self.tree, pci)

    def insist(self, action: Callable[[], _T]) -> _T:
        """Do what may be refused because the hardware is busy, and again until it is not or patience ends."""
        return self._insist(action, time.monotonic() + self.patience)

    def insisting(self) -> Callable[[Callable[[], _T]], _T]:
        """The same for several requests that have one patience between them."""
        deadline = time.monotonic() + self.patience
        return lambda action: self._insist(action, deadline)

    @staticmethod
    def _insist(action: Callable[[], _T], deadline: float) -> _T:
        while True:
            try:
                return action()
            except errors.KernelError as error:
                if error.errno not in _PASSING or time.monotonic() >= deadline:
                    raise
            timing.retried()
            time.sleep(random.uniform(*_PAUSE))  # noqa: S311
