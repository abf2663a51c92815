"""The guest as the adversary's stage (tests/adversary/places.py): igbvf's VFs, which the kernel itself brings home."""

import contextlib
import pathlib

from sriov import devices, errors, settings
from sriov.hardware import sysfs
from sriov.linux import kernel, netns, sysfs_writes
from tests.adversary import dumps, places, requests
from tests.kernel import namespaces
from tests.lab import igb

INDICES = (5, 6)
_PARENT = 56  # IFLA_PARENT_DEV_NAME


class IgbStage:
    """Two VFs of the first PF. Whoever closes it leaves them as they were."""

    is_mock = False
    restless = frozenset({"link operstate", "link carrier", "link qdisc", "ethtool linkstate", "ethtool linkmodes"})
    tree = igb.TREE

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.host = netns.own()
        self.pf = self._netdev(igb.PF0).name
        self.vfs = tuple(igb.vf(index).pci for index in INDICES)
        self._namespaces = places.Namespaces(folder, self.vfs)
        self.places, self.held = self._namespaces.places, self._namespaces.held
        self.place, self.let_go = self._namespaces.place, self._namespaces.let_go
        self._homes = {pci: self._netdev(pci) for pci in self.vfs}
        self.names = {pci: home.name for pci, home in self._homes.items()}
        self.first = {pci: dumps.whole(self.host, home.index) for pci, home in self._homes.items()}
        self._furniture = {each.index for each in requests.links(self.host)} - {
            home.index for home in self._homes.values()
        }

    def close(self) -> None:
        self.reset()
        self.host.close()

    def end(self, place: places.Place) -> None:
        there = {pci for pci, found in self.find().items() if found.where is place}
        self._namespaces.forget(place)
        self._until_home(there)

    def find(self) -> dict[devices.PciAddress, places.Found]:
        found = {}
        for place, link in places.every(self):
            parent = link.attributes.get(_PARENT, b"").rstrip(b"\0").decode()
            if parent in self.vfs:
                found[devices.pci_address(parent)] = places.Found(place, link)
        return found

    def settle(self) -> None:
        """The kernel's sysfs is always right."""

    def strangers(self) -> list[requests.Link]:
        own = self._furniture | {found.link.index for found in self.find().values() if found.where is None}
        return [each for each in requests.links(self.host) if each.index not in own]

    def vf_settings(self, pci: str) -> settings.VfSettings:
        return igb.administered(INDICES[self.vfs.index(devices.pci_address(pci))])

    def reset(self) -> None:
        self._namespaces.forget_all()
        self._until_home(set(self.vfs))
        for link in self.strangers():
            requests.delete(self.host, link.index)
        for number, pci in zip(INDICES, self.vfs, strict=True):
            with igb.opened() as net:
                net.set_vf(igb.pf_index(), number, settings.BASELINE, settings.EVERY_SETTING - igb.UNSUPPORTED)
            if self._changes():
                self._make_anew(pci)
        assert not self.strangers()
        assert not (left := self._changes()), f"not as they were: {left}"

    def _changes(self) -> list[str]:
        return [each for pci, found in self.find().items() for each in places.changes(self, pci, found)]

    def _make_anew(self, pci: devices.PciAddress) -> None:
        """A new driver, and the name and the address of the VF's own."""
        writer, home = sysfs_writes.Sysfs(self.tree.root), self._homes[pci]
        with contextlib.suppress(errors.KernelError):
            writer.write(f"bus/pci/devices/{pci}/driver/unbind", pci)
        writer.write("bus/pci/drivers_probe", pci)
        self._until_home({pci})
        with igb.opened() as net:
            index = self._netdev(pci).index
            net.rename(index, home.name)
            net.set_link(index, kernel.Change(address=home.address))

    def _until_home(self, pcis: set[devices.PciAddress]) -> None:
        """The kernel takes a namespace apart in its own time."""
        assert namespaces.until(lambda: all(self.tree.netdev(pci) for pci in pcis), 60), f"not home: {pcis}"

    def _netdev(self, pci: devices.PciAddress) -> sysfs.Netdev:
        found = self.tree.netdev(pci)
        assert found is not None
        return found
