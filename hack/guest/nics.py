"""NICs of the guest as QEMU arguments: two emulated Intel 82576 (igb), both on one virtual switch.

They are the only SR-IOV devices QEMU has with a stock driver for PF and VF. Pure.
"""

from __future__ import annotations

PFS = ("0000:01:00.0", "0000:02:00.0")
VFS_PER_PF = 7  # TotalVFs of the 82576 as QEMU builds it


FAR_PF = "0000:81:00.0"
_FAR_BUS = 0x80
SPARE = range(3, 9)
"""Numbers of the cards for the spare slots, and of these slots in /sys/bus/pci/slots."""


def arguments(count: int = len(PFS)) -> list[str]:
    """Return one PF behind each root port, so that it has a PCI bus, and with it VF addresses, of its own."""
    return [word for index in range(count) for word in _card(index)]


def far_slot() -> list[str]:
    """Return an empty slot that is nearer to NUMA node 1, for a card with the next number: QMP can plug it in."""
    index = len(PFS)
    bridge = f"pxb-pcie,id=far,bus=pcie.0,bus_nr={_FAR_BUS},numa_node=1"
    return ["-device", bridge, *_slot(index, ",bus=far")]


def spare_slots() -> list[str]:
    """Return more empty slots, for a test that needs more VFs than the two cards have."""
    return [word for index in SPARE for word in _slot(index, ",bus=far")]


def outside() -> list[str]:
    """Return a card without SR-IOV to the machine's own network, which QEMU reaches as any program does (slirp)."""
    return ["-netdev", "user,id=outside,ipv6=off", "-device", "virtio-net-pci,bus=pcie.0,netdev=outside,romfile="]


def device(index: int) -> dict[str, str]:
    """Return the card itself, as -device and QMP's device_add take it."""
    mac = f"52:54:00:00:00:{index + 1:02x}"
    return {"driver": "igb", "bus": f"rp{index}", "id": f"igb{index}", "netdev": f"h{index}", "mac": mac}


def _card(index: int) -> list[str]:
    driver, *properties = device(index).items()
    return [*_slot(index), "-device", ",".join([driver[1], *(f"{name}={value}" for name, value in properties)])]


def _slot(index: int, where: str = "") -> list[str]:
    return [
        "-netdev", f"hubport,id=h{index},hubid=0",
        "-device", f"pcie-root-port,slot={index},id=rp{index}{where}",
    ]  # fmt: skip
