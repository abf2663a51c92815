"""The node that attachments happen on: its sysfs, its kernel, and the host's namespace, where every free VF is."""

import errno
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

import msgspec

from sriov import devices, errors, timing
from sriov.attachment import vf_config
from sriov.hardware import inventory, mailboxes, sysfs
from sriov.linux import kernel, netns, sysfs_writes

_T = TypeVar("_T")

# A PF's driver talks to firmware or to the VF through one mailbox, which a burst of pods finds in use. A VF that is
# being reset refuses requests meanwhile: iavf_open(), iavf_change_mtu(), iavf_set_mac() in iavf_main.c.
_PASSING = frozenset({errno.EBUSY, errno.EAGAIN})
PATIENCE = 3.0  # seconds
_PAUSE = (0.01, 0.1)  # seconds, random for each pause so that a burst does not come back as one


class AttachmentStep(timing.Step):
    """What is timed of an attachment: what its PF is told, moves, what is set in the pod, the look at a VF's return."""

    PF = "PF settings"
    MOVE = "move"
    POD = "pod settings"
    COMPARE = "comparison"


class Node(msgspec.Struct, frozen=True):
    """The node, one object for each process. `kernel` opens requests in the host's namespace for the calling thread.

    `home` is the host's namespace. `patience` is the seconds to wait for what takes its own time: a VF of a destroyed
    namespace on its way to the host, a busy driver. `writer` writes to sysfs; None if nobody may. `rdma_turn` is held
    while an RDMA device is moved.
    """

    tree: sysfs.Tree
    kernel: Callable[[], AbstractContextManager[kernel.Kernel]]
    home: netns.Netns
    unsupported: vf_config.Unsupported = msgspec.field(default_factory=vf_config.Unsupported)
    heard: mailboxes.Heard = msgspec.field(default_factory=mailboxes.Heard)
    patience: float = PATIENCE
    writer: sysfs_writes.Attributes | None = None
    rdma_turn: threading.Lock = msgspec.field(default_factory=threading.Lock)

    def rebind(self, pci: devices.PciAddress) -> None:
        """Unbind the device's driver and bind it again, which makes a new netdev. Raises KernelError."""
        folder = self.tree.pci(pci)
        # If 0, the kernel would not give the VF a driver again (pci_device_can_probe(), drivers/pci/pci-driver.c).
        probes = sysfs.integer(folder / "physfn/sriov_drivers_autoprobe") != 0
        if self.writer is None or not probes:
            raise errors.KernelError(f"bind VF {pci} to its driver again", errno.EACCES, "bind it by hand")
        self.writer.write(f"bus/pci/devices/{pci}/driver/unbind", pci)
        self.writer.write("bus/pci/drivers_probe", pci)

    def target(self, vf: devices.VF, own_mac: str) -> vf_config.Target | None:
        """Return how the PF addresses the VF; None if the PF is on another machine. Raises as `uplink`."""
        if vf.pf is None:
            return None
        index = self.tree.ifindex(vf.pf)
        if index is None:
            raise self._without_uplink(vf, vf.pf)
        return vf_config.Target(index, vf.index, own_mac, self.tree.generation(vf.pf))

    def uplink(self, vf: devices.VF) -> sysfs.Netdev | None:
        """Return the netdev of the VF's PF, which sets the VF; None if the PF is on another machine.

        Raises BusyError if the PF has no netdev, which a driver may still bring, and DeviceError if it has several.
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
        """Return why a device with no known netdev can never have a usable one; None if a netdev may still come."""
        found = self.tree.undecided(pci)
        if not found:
            return None
        return errors.DeviceError(
            f"{pci} has several netdevs and no port name shows which is its uplink: {', '.join(found)}",
            "use a card that has a function for each port; docs/nics.md explains how an uplink is recognised",
        )

    def lookup(self, pci: devices.PciAddress) -> devices.VF:
        """Return the VF as sysfs shows it now. Raises DeviceError."""
        return inventory.lookup(self.tree, pci)

    def insist(self, action: Callable[[], _T]) -> _T:
        """Run `action`; retry on EBUSY and EAGAIN for up to `patience` seconds."""
        return self._insist(action, time.monotonic() + self.patience)

    def insisting(self) -> Callable[[Callable[[], _T]], _T]:
        """Return an `insist` for several requests that share one `patience`."""
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
