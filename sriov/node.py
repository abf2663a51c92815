"""The node an attachment happens on: its sysfs, its kernel, the namespace that is home to every free VF."""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager

from sriov import devices, errors, inventory, kernel, netns, sysfs, vfconfig


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """Made once a process. `kernel` opens requests in the host's namespace for the calling thread.

    `patience` is how many seconds to wait for what the kernel does on its own time, such as bringing the VF of a
    destroyed namespace home.
    """

    tree: sysfs.Tree
    kernel: Callable[[], AbstractContextManager[kernel.Kernel]]
    home: netns.Netns
    unsupported: vfconfig.Unsupported = dataclasses.field(default_factory=vfconfig.Unsupported)
    patience: float = 3.0

    def target(self, vf: devices.VF, own_mac: str) -> vfconfig.Target:
        """How the PF addresses the VF. Raises BusyError where the PF has no netdev."""
        pf = self.tree.netdev(vf.pf)
        if pf is None:
            raise errors.BusyError(f"PF {vf.pf} of VF {vf.pci} has no netdev", "is its driver loaded?")
        return vfconfig.Target(pf.index, vf.index, own_mac)

    def lookup(self, pci: devices.PciAddress) -> devices.VF:
        """The VF as sysfs shows it now. Raises DeviceError."""
        return inventory.lookup(self.tree, pci)
