"""The guest's network cards as QEMU arguments: two emulated Intel 82576 (igb), both on one virtual switch.

They are the only SR-IOV devices QEMU has with a stock driver for PF and VF. Pure.
"""

from __future__ import annotations

PFS = ("0000:01:00.0", "0000:02:00.0")
VFS_PER_PF = 7  # TotalVFs of the 82576 as QEMU builds it


def arguments(count: int = len(PFS)) -> list[str]:
    """One PF behind each root port, so that it has a PCI bus, and with it VF addresses, of its own."""
    return [word for index in range(count) for word in _card(index)]


def _card(index: int) -> list[str]:
    mac = f"52:54:00:00:00:{index + 1:02x}"
    return [
        "-netdev", f"hubport,id=h{index},hubid=0",
        "-device", f"pcie-root-port,slot={index},id=rp{index}",
        "-device", f"igb,bus=rp{index},id=igb{index},netdev=h{index},mac={mac}",
    ]  # fmt: skip
