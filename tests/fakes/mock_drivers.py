"""Drivers of a mock node's VFs: unbinding one ends the VF's netdev, and binding it makes a new one.

The new netdev is a new veth, under a name of the kernel's choice as without udev, and with the VF's own address, or
the one that the PF administers (as with igbvf).
"""

import errno
import pathlib
import re

from sriov import devices, errors, settings
from sriov.hardware import sysfs
from tests.fakes import mock_kernel

_UNBIND = re.compile(r"bus/pci/devices/(?P<pci>[^/]+)/driver/unbind")


class MockDrivers:
    """sysfs writes of one mock node, for a thread that is in its host's namespace."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._state = mock_kernel.State(folder)

    def write(self, path: str, value: str) -> None:
        if (unbind := _UNBIND.fullmatch(path)) is not None and unbind["pci"] == value:
            self._unbind(value)
        elif path == "bus/pci/drivers_probe":
            self._probe(value)
        else:
            raise errors.KernelError(f"write {value!r} to {path}", errno.ENOENT)

    def _unbind(self, pci: str) -> None:
        with self._state.changing() as vfs:
            if vfs[pci].where != "home":
                raise errors.KernelError(f"unbind {pci}", errno.EOPNOTSUPP)  # the mock's, a kernel would
            index = vfs[pci].index
            vfs[pci].where, vfs[pci].index = "nowhere", 0
            self._show(pci, None)
        mock_kernel.delete(index)  # last: after a death in between, the state already has no netdev

    def _probe(self, pci: str) -> None:
        with self._state.changing() as vfs:
            vf = vfs[pci]
            if vf.where != "nowhere":
                return
            address = vf.address if vf.state.mac == settings.NO_MAC else vf.state.mac
            mock_kernel.add_veth("eth%d", vf.far, address, vf.queues, vf.far_index)
            [vf.index] = mock_kernel.indices_with_peer(vf.far_index)
            vf.where = "home"
            mock_kernel.plug(vf.far, vf.state.vlan)
            self._show(pci, sysfs.Netdev(mock_kernel.name_of(vf.index), vf.index, address, 1500))

    def _show(self, pci: str, netdev: sysfs.Netdev | None) -> None:
        self._state.tree.set_driver(devices.pci_address(pci), "igbvf" if netdev else None)
        self._state.tree.set_netdev(devices.pci_address(pci), netdev)
