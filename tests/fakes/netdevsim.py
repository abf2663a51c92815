"""netdevsim PFs, of the kernel's own simulator of network cards, which a test makes and removes.

Their VF settings are real netlink; they have no VF netdevs. This module does not load the kernel module: `hack/lab
run --netdevsim` does, in the guest. Source: drivers/net/netdevsim in the kernel, bus.c and dev.c.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

from sriov.linux import kernel, netlink, netns

BUS = pathlib.Path("/sys/bus/netdevsim")
DEBUG = pathlib.Path("/sys/kernel/debug/netdevsim")


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """A card with one netdev for each port. The first is a PF and shows all the card's VFs."""

    number: int
    ports: tuple[kernel.Link, ...]

    @property
    def pf(self) -> kernel.Link:
        return self.ports[0]

    def set_numvfs(self, count: int) -> None:
        """Set the number of VFs. A VF's settings stay with its index, unless max_vfs grows."""
        numvfs = BUS / f"devices/netdevsim{self.number}/sriov_numvfs"
        numvfs.write_text("0")
        limit = DEBUG / f"netdevsim{self.number}/max_vfs"
        if count > int(limit.read_text()):
            limit.write_text(str(count))
        numvfs.write_text(str(count))


@contextlib.contextmanager
def inserted(home: netns.Netns, vfs: int, ports: int = 1) -> Iterator[Card]:
    """Make a card whose netdevs are in `home`; removed when the context ends, wherever the netdevs are then."""
    taken = [int(path.name.removeprefix("netdevsim")) for path in (BUS / "devices").iterdir()]
    number = max(taken, default=0) + 1
    before = _indices(home)
    with netns.entered(home):
        # nsim_bus_dev_new() uses the writer's namespace.
        (BUS / "new_device").write_text(f"{number} {ports}")
    try:
        with netns.entered(home), contextlib.closing(netlink.Netlink()) as net:
            new = tuple(link for link in net.links() if link.index not in before)
        card = Card(number, tuple(sorted(new, key=lambda link: link.index)))
        card.set_numvfs(vfs)
        yield card
    finally:
        (BUS / "del_device").write_text(str(number))


def _indices(home: netns.Netns) -> set[int]:
    with netns.entered(home), contextlib.closing(netlink.Netlink()) as net:
        return {link.index for link in net.links()}
