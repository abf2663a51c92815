"""Simulated node whose PF is real netlink: one netdevsim card has the VF settings, another one's ports are VF netdevs.

A built sysfs tree combines both as PCI devices, so that device plugin and CNI run on it unchanged. Unlike a veth such a
port returns to the host when its namespace dies. It carries no frames between the PF and a VF.
"""

import contextlib
import dataclasses
import pathlib
import threading
from collections.abc import Iterator, Set

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from sriov import devices, settings
from sriov.attachment import node as nodes
from sriov.hardware import sysfs
from sriov.linux import kernel, netlink, netns, nlsocket
from sriov.linux.messages import vfs as vf_messages
from tests.fakes import mock_kernel, netdevsim, sysfs_tree

_FILTER_VF_SKIP_STATS = 1 | 8  # RTEXT_FILTER_*, include/uapi/linux/rtnetlink.h
PF = devices.pci_address("0000:01:00.0")


class _State(mock_kernel.State):
    """State of the VFs for one process. A file of 256 VFs would cost more than the kernel does."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder)
        self._vfs: dict[str, mock_kernel.Vf] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, mock_kernel.Vf]]:
        with self._lock:
            yield self._vfs

    def read(self) -> dict[str, mock_kernel.Vf]:
        return self._vfs


class SimulatedKernel(mock_kernel.MockKernel):
    """The mock kernel, except for the PF, which is asked itself."""

    def set_vf(self, pf: int, vf: int, wanted: settings.VfSettings, which: Set[settings.Setting]) -> None:
        self._net.set_vf(pf, vf, wanted, which)

    def vf(self, pf: int, vf: int) -> settings.VfSettings:
        return self._net.vf(pf, vf)


@dataclasses.dataclass(frozen=True, slots=True)
class SimulatedNode:
    """`vfs` are the VFs' addresses in index order. The calling thread is in the node's namespace."""

    node: nodes.Node
    vfs: tuple[devices.PciAddress, ...]
    pf: int

    def settings(self) -> tuple[settings.VfSettings, ...]:
        """Return all VFs as the PF shows them, in one answer: the product asks for one at a time."""
        with contextlib.closing(netlink.Netlink()) as net:
            [message] = nlsocket.read(ifinfmsg, [net._show(self.pf, _FILTER_VF_SKIP_STATS)])
        listed = message.get_attr("IFLA_VFINFO_LIST")["attrs"]
        return tuple(vf_messages.shown(info) for _, info in listed)

    def netdevs(self) -> tuple[sysfs.Netdev | None, ...]:
        """Return each VF's netdev if it is in the host."""
        return tuple(map(self.node.tree.netdev, self.vfs))


@contextlib.contextmanager
def made(folder: pathlib.Path, home: netns.Netns, vfs: int) -> Iterator[SimulatedNode]:
    """Make the node in the namespace `home`; the calling thread, and the threads it starts, are inside."""
    with (
        netdevsim.inserted(home, vfs) as card,
        netdevsim.inserted(home, 0, ports=vfs) as ports,
        netns.entered(home),
    ):
        state = _State(folder)
        model = dataclasses.replace(sysfs_tree.LARGE, totalvfs=vfs)
        state.tree.add_pf(PF, mock_kernel.shown(card.pf), model)
        addresses = state.tree.set_numvfs(PF, vfs)
        with state.changing() as known:
            for number, (pci, link) in enumerate(zip(addresses, ports.ports, strict=True)):
                known[pci] = mock_kernel.Vf(pf=card.pf.index, vf=number, far="", index=link.index)
                state.tree.set_netdev(pci, mock_kernel.shown(link))

        @contextlib.contextmanager
        def opened() -> Iterator[kernel.Kernel]:
            with contextlib.closing(netlink.Netlink()) as net:
                yield SimulatedKernel(net, state, "home")

        here = nodes.Node(state.tree.tree, opened, home)
        yield SimulatedNode(here, addresses, card.pf.index)
