"""VFs whose PF is known to listen to them, so that an ADD need not find out.

igb and ixgbe ignore messages of a VF that was not reset since its PF was down (igb_rcv_msg_from_vf() and
ixgbe_rcv_msg_from_vf(), clear_to_send), and drop its frames. Setting an address on such a VF reveals that, but a VF
that has its own address, and is held to it by its PF, is set none. A PF that goes down and up loses its carrier, and
the kernel counts that (carrier_changes, Documentation/ABI/testing/sysfs-class-net): once a VF was heard while there was
a carrier, it is heard as long as that count is the same. If it is not known, the ADD finds out.
"""

from sriov import devices
from sriov.hardware import sysfs


class Heard:
    """Record by VF, from when it was last heard: the device's identity and its PF's count of carrier changes."""

    def __init__(self) -> None:
        self._known: dict[devices.PciAddress, tuple[int, int]] = {}

    def seen(self, tree: sysfs.Tree, vf: devices.VF) -> tuple[int, int] | None:
        """Take the state before the VF sends something to its PF; None if it would prove nothing for later."""
        if vf.pf is None or sysfs.integer(f"{tree.pci(vf.pf)}/net/{vf.pf_netdev}/carrier") != 1:
            return None
        return self._now(tree, vf)

    def note(self, pci: devices.PciAddress, seen: tuple[int, int] | None) -> None:
        """Note that the VF has been heard since `seen` was taken."""
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
