"""Which VFs their PF is known to listen to, so that an ADD need not try.

igb and ixgbe hear nothing from a VF that was not reset since its PF was down (igb_rcv_msg_from_vf() and
ixgbe_rcv_msg_from_vf(), clear_to_send), nor let its frames through. Whoever tells such a VF an address learns it, but a
VF that has its own address and is held to it by its PF is told none. A PF that goes down and up loses its carrier, and
the kernel counts that (carrier_changes, Documentation/ABI/testing/sysfs-class-net): a VF that was heard once, while
there was a carrier, is heard for as long as that count is the same. What is not known is tried.
"""

from sriov import devices
from sriov.hardware import sysfs


class Heard:
    """By VF: which device it was, and its PF's count of carriers, when it was last heard."""

    def __init__(self) -> None:
        self._known: dict[devices.PciAddress, tuple[int, int]] = {}

    def seen(self, tree: sysfs.Tree, vf: devices.VF) -> tuple[int, int] | None:
        """To be taken before the VF says something to its PF; None where it would prove nothing for later."""
        if vf.pf is None or sysfs.integer(f"{tree.pci(vf.pf)}/net/{vf.pf_netdev}/carrier") != 1:
            return None
        return self._now(tree, vf)

    def note(self, pci: devices.PciAddress, seen: tuple[int, int] | None) -> None:
        """The VF has been heard since `seen` was taken."""
        if seen is None:
            self._known.pop(pci, None)
        else:
            self._known[pci] = seen

    def is_heard(self, tree: sysfs.Tree, vf: devices.VF) -> bool:
        known = self._known.get(vf.pci)
        return known is not None and known == self._now(tree, vf)

    @staticmethod
    def _now(tree: sysfs.Tree, vf: devices.VF) -> tuple[int, int] | None:
        if vf.pf is None:
            return None
        count = sysfs.integer(f"{tree.pci(vf.pf)}/net/{vf.pf_netdev}/carrier_changes")
        return None if count is None else (tree.birth(vf.pci), count)
