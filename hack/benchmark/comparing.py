"""What a DEL pays for looking whether the VF's netdev is as it was when it was first seen: the daemon's own functions.

In this process, right after a bare move home, where a DEL does it too, and by what the daemon noted of the link: asking
the daemon for its steps would cost the calls that are measured.
"""

import time

from hack.benchmark import contenders, stage
from sriov import devices
from sriov.attachment import cleaning
from sriov.linux import kernel, netlink
from sriov.linux.netdev import netdev_settings
from sriov.state import vf_identity


class Comparison:
    """Of the stage's links, once they are home. Belongs to one thread; close it."""

    def __init__(self, where: stage.Stage) -> None:
        self._tree, self._homes = where.tree, vf_identity.Homes(where.daemon.folder / "run/homes")
        self._net = netlink.Netlink()

    def close(self) -> None:
        self._net.close()

    def check(self, link: stage.Link) -> None:
        """Raises BrokenRunError where more than a comparison would be measured."""
        found, noted = self._net.state(link.index), self._noted(link)
        if noted is None:
            raise contenders.BrokenRunError(f"the daemon has not noted what {link.name} was like")
        if differing := netdev_settings.differing(noted, found):
            raise contenders.BrokenRunError(f"{link.name} came home with another {netdev_settings.shown(differing)}")

    def milliseconds(self, link: stage.Link) -> float:
        began = time.perf_counter()
        self.set_back(link)
        return (time.perf_counter() - began) * 1000

    def set_back(self, link: stage.Link) -> None:
        """What somebody has left on it, as host-device 1.1.1 leaves an alias, is not for the next one to clear away."""
        cleaning.clean(self._net, link.index, self._noted(link))

    def _noted(self, link: stage.Link) -> kernel.LinkState | None:
        return self._homes.state(self._tree, devices.pci_address(link.pci))
