"""Cost of a DEL's comparison of the VF's netdev with what it was at first, with the daemon's own functions.

It runs in this process, right after a bare move to the host, where a DEL does it too, with what the daemon noted of the
link: asking the daemon for its steps would cost the measured calls.
"""

import time

from hack.benchmark.attach import contenders
from hack.benchmark.stages import stage
from sriov import devices
from sriov.attachment import cleaning
from sriov.linux import kernel, netlink
from sriov.linux.netdev import netdev_settings
from sriov.state import vf_identity


class Comparison:
    """Comparison of the stage's links in the host. Belongs to one thread; close it."""

    def __init__(self, where: stage.Stage) -> None:
        self._tree, self._homes = where.tree, vf_identity.VfIdentities(where.daemon.folder / "run/homes")
        self._net = netlink.Netlink()

    def close(self) -> None:
        self._net.close()

    def check(self, link: stage.Link) -> None:
        """Check the link. Raises BrokenRunError if more than a comparison would be measured."""
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
        """Remove what a contender left, as host-device 1.1.1 leaves an alias: the next one must not pay for it."""
        cleaning.clean(self._net, link.index, self._noted(link))

    def _noted(self, link: stage.Link) -> kernel.LinkState | None:
        return self._homes.state(self._tree, devices.pci_address(link.pci))
