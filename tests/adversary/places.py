"""Places where a VF can be: namespaces of pods, and the host with all that a schedule must know of it."""

import contextlib
import ctypes
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Protocol

from sriov import devices, settings
from sriov.hardware import sysfs
from sriov.linux import netns
from tests.adversary import dumps, requests

_MS_BIND, _MNT_DETACH = 4096, 2
_libc = ctypes.CDLL(None, use_errno=True)


@dataclasses.dataclass(slots=True)
class Place:
    """A namespace of a pod, or one that the pod made. `path` is "" if only a descriptor keeps it."""

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
    """Where a VF was found: `where` is None for the host."""

    where: Place | None
    link: requests.Link


class Stage(Protocol):
    """A host with VFs, and the namespaces beside it.

    `pf` is the name of the PF's netdev. `vfs` are the VFs that schedules use; `names` and `first` are their names and
    states when they were first seen. `places` are the existing namespaces, `held` descriptors of bpf links: what they
    attach ends with them, and not before. `is_mock`: the folder has a mock node's files, which the daemon is to use.
    `restless`: parts of a dump that change with the carrier, which comes in its own time.
    """

    folder: pathlib.Path
    host: netns.Netns
    pf: str
    vfs: tuple[devices.PciAddress, ...]
    names: dict[devices.PciAddress, str]
    first: dict[devices.PciAddress, dumps.Dump]
    places: list[Place]
    held: dict[devices.PciAddress, list[int]]
    is_mock: bool
    restless: frozenset[str]

    @property
    def tree(self) -> sysfs.Tree: ...

    def place(self, *, named: bool = True) -> Place:
        """Make a new namespace: with a path, as a pod's, or kept by a descriptor alone."""

    def end(self, place: Place) -> None:
        """Drop its last reference; every VF in it is in the host when this returns."""

    def let_go(self, pci: devices.PciAddress) -> None:
        """End the holders of the VF's bpf links."""

    def find(self) -> dict[devices.PciAddress, Found]:
        """Return every VF that has a driver, wherever its netdev is."""

    def settle(self) -> None:
        """Make sysfs show every VF where it is."""

    def strangers(self) -> list[requests.Link]:
        """Return links in the host that were not there before."""

    def vf_settings(self, pci: str) -> settings.VfSettings:
        """Return the VF as its PF shows it."""

    def reset(self) -> None:
        """Restore everything as it was at first, whatever a schedule has left; verified."""


class Namespaces:
    """Namespaces of one stage, and the descriptors that outlive them."""

    def __init__(self, folder: pathlib.Path, vfs: tuple[devices.PciAddress, ...]) -> None:
        self.places: list[Place] = []
        self.held: dict[devices.PciAddress, list[int]] = {pci: [] for pci in vfs}
        self._below = folder
        self._made = 0

    def place(self, *, named: bool = True) -> Place:
        self._made += 1
        path = self._below / f"n{self._made}" if named else None
        made = Place(f"n{self._made}", new_namespace(path), str(path or ""))
        self.places.append(made)
        return made

    def let_go(self, pci: devices.PciAddress) -> None:
        while self.held[pci]:
            os.close(self.held[pci].pop())

    def forget(self, place: Place) -> None:
        self.places.remove(place)
        place.close()

    def forget_all(self) -> None:
        for place in list(self.places):
            self.forget(place)
        for pci in self.held:
            self.let_go(pci)


def changes(stage: Stage, pci: devices.PciAddress, found: Found) -> list[str]:
    """Return the differences of a VF in the host from when it was first seen."""
    name = [] if found.link.name == stage.names[pci] else [f"name: {stage.names[pci]} -> {found.link.name}"]
    now = dumps.whole(stage.host, found.link.index)
    # The kernel gives a link its usual queueing discipline when it is first up, and removes any at a move.
    return name + dumps.differences(stage.first[pci], now, but=stage.restless | {"link qdisc"})


def every(stage: Stage) -> Iterator[tuple[Place | None, requests.Link]]:
    """Yield every link that exists; None is the host."""
    for place in (None, *stage.places):
        for link in requests.links(place.handle if place else stage.host):
            yield place, link


def new_namespace(path: pathlib.Path | None = None) -> netns.Netns:
    """Make a namespace; with `path`, it is mounted there."""
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
    """Put the calling thread in a namespace of its own, until the context ends."""
    with netns.own() as here:
        if _libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            yield
        finally:
            if _libc.setns(here.fd, 0x40000000) != 0:
                os._exit(70)
