"""Arena, the host of the adversary's schedules: a mock node whose VFs are never lost, with pods' namespaces beside it.

A real VF is known by its PCI address wherever it is, and returns when its namespace dies. Its stand-in, a veth, is
known by the index of its other end, which nobody can change, and is moved to the host before the namespace ends.
"""

import pathlib
from collections.abc import Sequence

from sriov import devices, settings
from sriov.hardware import sysfs
from sriov.linux import netns
from tests.adversary import dumps, places, requests
from tests.fakes import mock_drivers, mock_kernel, mock_node

PF = "pf0"
VLANS = (100, 200)
_QUEUES = 4
_FAR = 1_000_000


class Arena(mock_node.MockNode):
    """One PF with `vfs` VFs: a places.Stage."""

    is_mock = True
    restless: frozenset[str] = frozenset()
    pf = PF

    def __init__(self, folder: pathlib.Path, vfs: int = 2) -> None:
        super().__init__(folder, vfs=vfs, names=[PF])
        self.host = netns.open_path(f"/run/netns/{self.name}")
        self.vfs = tuple(devices.pci_address(each) for each in self.state.read())
        self._namespaces = places.Namespaces(folder, self.vfs)
        self.places, self.held = self._namespaces.places, self._namespaces.held
        self.place, self.let_go = self._namespaces.place, self._namespaces.let_go
        with netns.entered(self.host):
            for vf in self.state.read().values():
                for vlan in (*VLANS, 0):
                    mock_kernel.plug(vf.far, vlan)  # the bridges exist from the start
        links = {pci: requests.link(self.host, self.state.read()[pci].index) for pci in self.vfs}
        self.first = {pci: dumps.whole(self.host, link.index) for pci, link in links.items()}
        self.names = {pci: link.name for pci, link in links.items()}
        self._furniture = {each.index for each in requests.links(self.host)} - self._indices()
        with self.state.changing() as known:
            for each in known.values():
                each.queues = _QUEUES

    def close(self) -> None:
        self._namespaces.forget_all()
        self.host.close()
        super().close()

    # Namespaces.

    def end(self, place: places.Place) -> None:
        """Drop its last reference: do what the kernel does with a physical device in it, then end the namespace."""
        self._empty(place)
        self._namespaces.forget(place)
        self.settle()

    def _empty(self, place: places.Place) -> None:
        for found in self.find().values():
            if found.where is place:
                self._carry(place, found.link)

    def _carry(self, place: places.Place, link: requests.Link) -> None:
        """Move as default_device_exit_net() in net/core/dev.c: taken names are lost, and everything else stays."""
        taken = self.names_in_host()
        for name in link.altnames:
            if name in taken:
                requests.drop_altname(place.handle, link.index, name)
        name = link.name if link.name not in taken else _free(f"dev{link.index}", taken)
        requests.move(place.handle, link.index, self.host, name)

    # VFs.

    def names_in_host(self) -> set[str]:
        found = requests.links(self.host)
        return {each.name for each in found} | {name for each in found for name in each.altnames}

    def find(self) -> dict[devices.PciAddress, places.Found]:
        """Return every VF that has a driver, wherever its netdev is."""
        known = self.state.read()
        peers = {vf.far_index: devices.pci_address(pci) for pci, vf in known.items()}
        found = {}
        links = list(places.every(self))
        for place, link in links:
            if link.peer in peers:
                found[peers[link.peer]] = places.Found(place, link)
        bound = {pci for pci in self.vfs if known[pci].where != "nowhere"}
        seen = [(place and place.name, link.name, link.index, link.peer) for place, link in links]
        assert found.keys() >= bound, f"a VF has no netdev anywhere: {seen}, {known}"
        return found

    def settle(self) -> None:
        """Update sysfs and the mock's memory to show every VF where it is, as the kernel does by itself."""
        with self.state.changing() as vfs:
            for pci, here in self.find().items():
                vf = vfs[pci]
                vf.where = str(here.where.handle.identity) if here.where else "home"
                vf.index = here.link.index
                shown = None if here.where else _shown(here.link)
                if self.tree.netdev(pci) != shown:
                    self.state.tree.set_netdev(pci, shown)

    @property
    def tree(self) -> sysfs.Tree:
        return self.state.tree.tree

    def strangers(self) -> list[requests.Link]:
        """Return links in the host that were not there before."""
        own = self._furniture | self._indices()
        return [each for each in requests.links(self.host) if each.index not in own]

    def reset(self) -> None:
        """Restore everything as it was made, whatever a schedule has left; verified."""
        for place in list(self.places):
            self._empty(place)
        self._namespaces.forget_all()
        self.settle()
        with netns.entered(self.host):
            for link in self.strangers():
                mock_kernel.delete(link.index)
            for pci in set(self.vfs) - self.find().keys():
                mock_drivers.MockDrivers(self.folder).write("bus/pci/drivers_probe", pci)
        self._make_anew([pci for pci, found in self.find().items() if places.changes(self, pci, found)])
        with self.state.changing() as vfs, netns.entered(self.host):
            for vf in vfs.values():
                vf.state = settings.BASELINE
                mock_kernel.plug(vf.far, 0)
        self.settle()
        assert not self.strangers()
        left = [each for pci, found in self.find().items() for each in places.changes(self, pci, found)]
        assert not left, f"not as they were: {left}"

    def _make_anew(self, pcis: list[devices.PciAddress]) -> None:
        """Make these VFs again; one may have the name of another."""
        with netns.entered(self.host), self.state.changing() as vfs:
            for pci in pcis:
                mock_kernel.delete(vfs[pci].index)
            for pci in pcis:
                vf = vfs[pci]
                mock_kernel.add_veth(self.names[pci], vf.far, vf.address, _QUEUES, vf.far_index)
                vf.index = mock_kernel.index_of(self.names[pci])

    def _indices(self) -> set[int]:
        """Return the indices of both ends, of VFs in the host."""
        known = self.state.read().values()
        bound = [vf for vf in known if vf.where != "nowhere"]
        return {vf.far_index for vf in bound} | {vf.index for vf in bound if vf.where == "home"}

    def _add_veths(self, wanted: Sequence[tuple[str, str, str]]) -> None:
        """Make veths with several queues, so that channels can be set, and other ends with numbers that no pod has."""
        with netns.open_path(f"/run/netns/{self.name}") as host, netns.entered(host):
            for name, far, address in wanted:
                mock_kernel.add_veth(name, far, address, _QUEUES, _FAR + int(name.rpartition("v")[2]))


def _shown(link: requests.Link) -> sysfs.Netdev:
    mtu = int.from_bytes(link.attributes[requests.MTU], "little")
    return sysfs.Netdev(link.name, link.index, link.attributes[requests.ADDRESS].hex(":"), mtu)


def _free(name: str, taken: set[str]) -> str:
    numbers = (name, *(f"dev{number}" for number in range(len(taken) + 1)))
    return next(each for each in numbers if each not in taken)
