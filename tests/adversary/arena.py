"""The host of the adversary's schedules: a mock node whose VFs are never lost, with pods' namespaces beside it.

A real VF is known by its PCI address wherever it is, and comes home when its namespace dies. Its stand-in is known by
what nobody can change of a veth, the index of the other end, and is carried home before the namespace goes.
"""

import contextlib
import ctypes
import dataclasses
import os
import pathlib
from collections.abc import Iterator

from sriov import devices, netns, settings, sysfs
from tests.adversary import dumps, requests
from tests.fakes import mock_drivers, mock_kernel, mock_node

PF = "pf0"
VLANS = (100, 200)
_QUEUES = 4
_FAR = 1_000_000
_MS_BIND, _MNT_DETACH = 4096, 2
_libc = ctypes.CDLL(None, use_errno=True)


@dataclasses.dataclass(slots=True)
class Place:
    """A namespace of a pod, or of its making. `path` is "" where only a descriptor keeps it."""

    name: str
    handle: netns.Netns
    path: str = ""

    def forget_path(self) -> None:
        if self.path:
            _libc.umount2(self.path.encode(), _MNT_DETACH)
            pathlib.Path(self.path).unlink()
            self.path = ""

    def close(self) -> None:
        self.forget_path()
        self.handle.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """Where a VF is: `where` is None for the host."""

    where: Place | None
    link: requests.Link


class Arena(mock_node.MockNode):
    """One PF with `vfs` VFs. `host` is the namespace; `first` are the VFs as they were when they were made.

    `held` are descriptors of bpf links: what they attach is gone with them, and not before.
    """

    def __init__(self, folder: pathlib.Path, vfs: int = 2) -> None:
        super().__init__(folder, vfs=vfs, names=[PF])
        self.host = netns.open_path(f"/run/netns/{self.name}")
        self.vfs = tuple(devices.pci_address(each) for each in self.state.read())
        self.places: list[Place] = []
        self.held: dict[devices.PciAddress, list[int]] = {pci: [] for pci in self.vfs}
        self._made = 0
        with netns.entered(self.host):
            for vf in self.state.read().values():
                for vlan in (*VLANS, 0):
                    mock_kernel.plug(vf.far, vlan)  # the bridges are there from the start
        self.first = {pci: dumps.whole(self.host, vf.index) for pci, vf in self.state.read().items()}
        self.names = {pci: requests.link(self.host, vf.index).name for pci, vf in self.state.read().items()}
        self._furniture = {each.index for each in requests.links(self.host)} - self._indices()
        with self.state.changing() as known:
            for each in known.values():
                each.queues = _QUEUES

    def close(self) -> None:
        for place in list(self.places):
            self._forget(place)
        for pci in self.vfs:
            self.let_go(pci)
        self.host.close()
        super().close()

    # Namespaces.

    def place(self, *, named: bool = True) -> Place:
        """A new namespace: with a path, as a pod's, or kept by a descriptor alone."""
        self._made += 1
        name = f"n{self._made}"
        path = self.folder / name if named else None
        place = Place(name, new_namespace(path), str(path or ""))
        self.places.append(place)
        return place

    def end(self, place: Place) -> None:
        """Its last reference goes: what the kernel does with a physical device in it, and then the namespace."""
        for found in self.find().values():
            if found.where is place:
                self._carry(place, found.link)
        self._forget(place)
        self.settle()

    def _forget(self, place: Place) -> None:
        self.places.remove(place)
        place.close()

    def _carry(self, place: Place, link: requests.Link) -> None:
        """default_device_exit_net() in net/core/dev.c: names that are taken are lost, and everything else stays."""
        taken = self.names_in_host()
        for name in link.altnames:
            if name in taken:
                requests.drop_altname(place.handle, link.index, name)
        name = link.name if link.name not in taken else _free(f"dev{link.index}", taken)
        requests.move(place.handle, link.index, self.host, name)

    def let_go(self, pci: devices.PciAddress) -> None:
        """Whoever holds the VF's bpf links ends."""
        while self.held[pci]:
            os.close(self.held[pci].pop())

    # VFs.

    def names_in_host(self) -> set[str]:
        found = requests.links(self.host)
        return {each.name for each in found} | {name for each in found for name in each.altnames}

    def find(self) -> dict[devices.PciAddress, Found]:
        """Every VF that has a driver, wherever its netdev is."""
        known = self.state.read()
        peers = {vf.far_index: devices.pci_address(pci) for pci, vf in known.items()}
        found = {}
        for place in (None, *self.places):
            for link in requests.links(place.handle if place else self.host):
                if link.peer in peers:
                    found[peers[link.peer]] = Found(place, link)
        bound = {pci for pci in self.vfs if known[pci].where != "nowhere"}
        assert found.keys() >= bound, self._shown(known)
        return found

    def _shown(self, known: dict[str, mock_kernel.Vf]) -> str:
        places = {
            place.name if place else "host": place.handle if place else self.host for place in (None, *self.places)
        }
        links = {
            name: [(each.name, each.index, each.peer) for each in requests.links(where)]
            for name, where in places.items()
        }
        return f"a VF has no netdev anywhere: {links}, {known}"

    def settle(self) -> None:
        """Sysfs and the mock's memory show every VF where it is, as the kernel's own do without being asked."""
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
        """Links in the host that were not there before."""
        own = self._furniture | self._indices()
        return [each for each in requests.links(self.host) if each.index not in own]

    def changes(self, pci: devices.PciAddress, found: Found) -> list[str]:
        """In what a VF in the host is not what it was when it was first seen."""
        name = [] if found.link.name == self.names[pci] else [f"name: {self.names[pci]} -> {found.link.name}"]
        return name + dumps.differences(self.first[pci], dumps.whole(self.host, found.link.index))

    def reset(self) -> None:
        """Everything as it was made, whatever a schedule has left; verified."""
        for place in list(self.places):
            for found in self.find().values():
                if found.where is place:
                    self._carry(place, found.link)
            self._forget(place)
        for pci in self.vfs:
            self.let_go(pci)
        self.settle()
        with netns.entered(self.host):
            for link in self.strangers():
                mock_kernel.delete(link.index)
            for pci in set(self.vfs) - self.find().keys():
                mock_drivers.MockDrivers(self.folder).write("bus/pci/drivers_probe", pci)
        for pci, found in self.find().items():
            if self.changes(pci, found):
                self._make_anew(pci, found.link.index)
        with self.state.changing() as vfs, netns.entered(self.host):
            for vf in vfs.values():
                vf.state = settings.BASELINE
                mock_kernel.plug(vf.far, 0)
        self.settle()
        assert not self.strangers()
        assert not [each for pci, found in self.find().items() for each in self.changes(pci, found)]

    def _make_anew(self, pci: devices.PciAddress, index: int) -> None:
        with netns.entered(self.host), self.state.changing() as vfs:
            mock_kernel.delete(index)
            vf = vfs[pci]
            mock_kernel.add_veth(self.names[pci], vf.far, vf.address, _QUEUES, vf.far_index)
            vf.index = mock_kernel.index_of(self.names[pci])

    def _indices(self) -> set[int]:
        """Both ends, as long as a VF is in the host."""
        known = self.state.read().values()
        bound = [vf for vf in known if vf.where != "nowhere"]
        return {vf.far_index for vf in bound} | {vf.index for vf in bound if vf.where == "home"}

    def _add_veth(self, name: str, far: str, address: str) -> int:
        """With several queues, so that there are channels to set, and an other end of a number that no pod has."""
        with netns.open_path(f"/run/netns/{self.name}") as host, netns.entered(host):
            mock_kernel.add_veth(name, far, address, _QUEUES, _FAR + int(name.rpartition("v")[2]))
            return mock_kernel.index_of(name)


def _shown(link: requests.Link) -> sysfs.Netdev:
    mtu = int.from_bytes(link.attributes[requests.MTU], "little")
    return sysfs.Netdev(link.name, link.index, link.attributes[requests.ADDRESS].hex(":"), mtu)


def _free(name: str, taken: set[str]) -> str:
    numbers = (name, *(f"dev{number}" for number in range(len(taken) + 1)))
    return next(each for each in numbers if each not in taken)


def new_namespace(path: pathlib.Path | None = None) -> netns.Netns:
    """With `path`, it is mounted there."""
    with _unshared():
        made = netns.own()
        if path is not None:
            path.touch()
            source = f"/proc/self/fd/{made.fd}".encode()
            if _libc.mount(source, str(path).encode(), None, _MS_BIND, None) != 0:
                raise OSError(ctypes.get_errno(), "mount")
    return made


@contextlib.contextmanager
def _unshared() -> Iterator[None]:
    """The calling thread in a namespace of its own, until the context ends."""
    with netns.own() as here:
        if _libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            yield
        finally:
            if _libc.setns(here.fd, 0x40000000) != 0:
                os._exit(70)
