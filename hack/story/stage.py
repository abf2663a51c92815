"""Stages of the demo: real SR-IOV in the lab's guest, or a mock of veths on this machine.

All differences between the two are here; the processes, the sockets, the pods and the steps are the same.
"""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from sriov import devices, settings
from sriov.hardware import inventory, sysfs
from sriov.linux import netlink
from tests.fakes import mock_node

HOST_LOCAL = pathlib.Path("/usr/lib/cni")


class Stage(Protocol):
    """`tree` is the node's sysfs. `title` describes the stage on the terminal."""

    title: str
    tree: sysfs.Tree

    def command(self, *arguments: str) -> list[str]:
        """Return a command line that runs in the node's host namespace."""

    def daemon(self) -> Sequence[str]:
        """Return the Python module that is the CNI daemon, with its own arguments."""

    def vf_settings(self, vf: devices.VF) -> settings.VfSettings:
        """Return the VF as its PF shows it."""

    def after_namespace_death(self, pci: str, name: str, address: str) -> None:
        """Do what the kernel does by itself if the hardware is real."""


class Igb:
    """This machine's own kernel and hardware."""

    title = "an emulated Intel 82576: real PCI SR-IOV, drivers igb and igbvf"
    tree = sysfs.Tree()

    def command(self, *arguments: str) -> list[str]:
        return list(arguments)

    def daemon(self) -> Sequence[str]:
        return ("sriov_cni",)

    def vf_settings(self, vf: devices.VF) -> settings.VfSettings:
        assert vf.pf is not None
        pf = self.tree.netdev(vf.pf)
        assert pf is not None
        with contextlib.closing(netlink.Netlink()) as net:
            return net.vf(pf.index, vf.index)

    def after_namespace_death(self, pci: str, name: str, address: str) -> None:
        """Do nothing: the kernel has moved the VF to the host."""


class Mock:
    """Two PFs of seven veths each, or one for each of `names` with so many."""

    title = "a mock: veths stand in for VFs; what a PF would do is a file, VLANs are bridges"

    def __init__(self, folder: pathlib.Path, names: Sequence[str] = (), vfs: int = 7) -> None:
        self._node = mock_node.MockNode(folder, names=names, vfs=vfs)
        self.tree = sysfs.Tree(self._node.sysfs_root)

    def command(self, *arguments: str) -> list[str]:
        return self._node.command(*arguments)

    def daemon(self) -> Sequence[str]:
        return ("tests.fakes.cni_daemon", str(self._node.folder))

    def vf_settings(self, vf: devices.VF) -> settings.VfSettings:
        return self._node.vf_settings(vf.pci)

    def after_namespace_death(self, pci: str, name: str, address: str) -> None:
        self._node.bring_home(pci, name, address)

    def close(self) -> None:
        self._node.close()


@contextlib.contextmanager
def opened(kind: str) -> Iterator[Stage]:
    """Open the stage `igb` or `mock`."""
    if kind == "igb":
        yield Igb()
        return
    with (
        tempfile.TemporaryDirectory(prefix="sriov-mock-") as folder,
        contextlib.closing(Mock(pathlib.Path(folder))) as mock,
    ):
        yield mock


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """State that the next owner of a VF would find: its netdev in the host (None: in a pod), and the PF's report."""

    name: str | None
    address: str | None
    mtu: int | None
    settings: settings.VfSettings


def snapshot(stage: Stage) -> dict[str, Seen]:
    """Return every VF, by PCI address, without the PF's MAC: drivers show the VF's own there, which the netdev has."""
    return {vf.pci: _seen(stage, vf) for vf in inventory.scan(stage.tree).vfs.values()}


def _seen(stage: Stage, vf: devices.VF) -> Seen:
    netdev = stage.tree.netdev(vf.pci)
    state = msgspec.structs.replace(stage.vf_settings(vf), mac=settings.NO_MAC)
    if netdev is None:
        return Seen(None, None, None, state)
    return Seen(netdev.name, netdev.address, netdev.mtu, state)
