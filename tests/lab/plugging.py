"""Cards of the guest that are unplugged and plugged in. The first one stays, since most tests stand on it."""

import concurrent.futures
import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator, Sequence

from hack.guest import nics
from sriov import devices
from tests.kernel import namespaces
from tests.lab import igb, qemu


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """By its number in hack.guest.nics; `pf` is where it is while it is plugged in."""

    number: int
    pf: devices.PciAddress

    def unplug(self) -> None:
        """As by its handle: the driver is asked first. Afterwards neither the guest nor QEMU has the card.

        If nothing has happened in a minute, the slot's button is pressed once more, as a person would.
        """
        if not igb.TREE.pci(self.pf).exists():
            return
        name = nics.device(self.number)["id"]
        with qemu.monitor() as monitor:
            monitor.do("device_del", id=name)
            try:
                monitor.wait_for("DEVICE_DELETED", device=name)
            except qemu.SilentError:
                monitor.do("device_del", id=name)
                monitor.wait_for("DEVICE_DELETED", device=name)
        assert namespaces.until(lambda: not igb.TREE.pci(self.pf).exists())

    def plug(self) -> None:
        """With all of its VFs, as the guest's init leaves a card."""
        if not igb.TREE.pci(self.pf).exists():
            with qemu.monitor() as monitor:
                monitor.do("device_add", **nics.device(self.number))
            self.start()

    def start(self) -> None:
        """What is left to do when it is in its slot."""
        assert namespaces.until(lambda: igb.TREE.netdev(self.pf) is not None, 60), self.pf
        subprocess.run(["ip", "link", "set", str(igb.TREE.netdev_name(self.pf)), "up"], check=True)
        (igb.TREE.pci(self.pf) / "sriov_numvfs").write_text(str(nics.VFS_PER_PF))
        everyone = [igb.vf(index, self.pf).pci for index in range(nics.VFS_PER_PF)]
        assert namespaces.until(lambda: all(igb.TREE.netdev(pci) for pci in everyone))


SECOND = Card(1, igb.PF1)
FAR = Card(2, devices.pci_address(nics.FAR_PF))


def spare() -> list[Card]:
    """The cards that the empty slots are for. The firmware has chosen their buses."""
    slots = {number: igb.TREE.root / f"bus/pci/slots/{number}/address" for number in nics.SPARE}
    return [Card(number, devices.pci_address(f"{path.read_text().strip()}.0")) for number, path in slots.items()]


@contextlib.contextmanager
def plugged(cards: Sequence[Card]) -> Iterator[None]:
    """All at once: each takes the kernel five seconds (pciehp waits whether the button is pressed again)."""
    with qemu.monitor() as monitor:
        for card in cards:
            monitor.do("device_add", **nics.device(card.number))
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(Card.start, cards))
        yield
    finally:
        with qemu.monitor() as monitor:
            for card in cards:
                monitor.do("device_del", id=nics.device(card.number)["id"])
        assert namespaces.until(lambda: not any(igb.TREE.pci(card.pf).exists() for card in cards), 60)
