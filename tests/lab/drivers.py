"""Driver of a VF of the guest, chosen as an administrator does it: driver_override, unbind, probe."""

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

from sriov import devices
from tests.kernel import namespaces
from tests.lab import igb


def choose(pci: devices.PciAddress, name: str) -> None:
    """Bind the VF to this driver; "" is its own. Waits for the netdev of its own."""
    folder = igb.TREE.pci(pci)
    (folder / "driver_override").write_text(f"{name}\n")
    if (folder / "driver").exists():
        unbind(pci)
    pathlib.Path("/sys/bus/pci/drivers_probe").write_text(pci)
    assert (folder / "driver").resolve().name == name or not name
    assert name or namespaces.until(lambda: igb.TREE.netdev(pci) is not None)


def unbind(pci: devices.PciAddress) -> None:
    (igb.TREE.pci(pci) / "driver/unbind").write_text(pci)


@contextlib.contextmanager
def bound(pci: devices.PciAddress, name: str) -> Iterator[None]:
    """The VF with this driver, and with its own again afterwards."""
    subprocess.run(["modprobe", name], check=True)
    choose(pci, name)
    try:
        yield
    finally:
        choose(pci, "")
