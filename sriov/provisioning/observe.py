"""Observation of a node: reads what provisioning needs. Changes nothing."""

import contextlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from sriov import devices, errors, settings
from sriov.hardware import inventory, sysfs
from sriov.linux import kernel
from sriov.provisioning import model, vf_use
from sriov.state import ledger


class EswitchClient(Protocol):
    """Embedded switches of cards: sriov.linux.eswitch.Eswitch, and the tests' own. `bus` is pci."""

    def mode(self, bus: str, device: str) -> devices.EswitchMode | None: ...

    def set_mode(self, bus: str, device: str, mode: devices.EswitchMode) -> None: ...


class NodeAccess(msgspec.Struct, frozen=True):
    """Sources of a node's state. `pods` asks the kubelet each time which pod has which device, by PCI address."""

    tree: sysfs.Tree
    proc: pathlib.Path
    book: ledger.Ledger
    kernel: Callable[[], AbstractContextManager[kernel.Kernel]]
    switches: Callable[[], AbstractContextManager[EswitchClient]]
    pods: Callable[[], Mapping[str, str]] = dict

    def users(self) -> vf_use.Users:
        return vf_use.look(self.tree, self.proc, self.book, self.pods())


def observe(node: NodeAccess) -> model.NodeFacts:
    """Return every PF of the node with its VFs. Raises SriovError if the node cannot be read."""
    found, users = inventory.scan(node.tree), node.users()
    with node.kernel() as net, node.switches() as switches:
        reader = _Reader(node.tree, node.book, net, switches, users)
        pfs = [reader.pf(pf, [vf for vf in found.vfs.values() if vf.pf == pf.pci]) for pf in found.pfs.values()]
    return model.NodeFacts(tuple(pfs), frozenset(sysfs.names(node.tree.root / "bus/pci/drivers")))


class _Reader(msgspec.Struct, frozen=True):
    """The sources that one observation reads."""

    tree: sysfs.Tree
    book: ledger.Ledger
    net: kernel.Kernel
    switches: EswitchClient
    users: vf_use.Users

    def pf(self, pf: devices.PF, vfs: Sequence[devices.VF]) -> model.Pf:
        link = None if pf.netdev is None else self.net.link(pf.netdev)
        return model.Pf(
            pci=pf.pci,
            vendor=pf.vendor,
            device=pf.device,
            driver=pf.driver,
            netdev=pf.netdev,
            mtu=None if link is None else link.mtu,
            up=link is not None and link.up,
            totalvfs=pf.totalvfs,
            autoprobe=sysfs.integer(self.tree.pci(pf.pci) / "sriov_drivers_autoprobe") != 0,
            eswitch=self.switches.mode("pci", pf.pci),
            vfs=tuple(self._vf(vf, link) for vf in sorted(vfs, key=lambda vf: vf.index)),
        )

    def _vf(self, vf: devices.VF, pf: kernel.Link | None) -> model.Vf:
        netdev = self.tree.netdev(vf.pci)
        return model.Vf(
            index=vf.index,
            pci=vf.pci,
            binding=model.Binding(vf.driver, override(self.tree, vf.pci)),
            netdev=None if netdev is None else netdev.name,
            mtu=None if netdev is None else netdev.mtu,
            address=None if netdev is None else netdev.address,
            shown=None if pf is None else shown(self.net, pf.index, vf.index),
            declared=self.book.defaults.written(self.tree, vf.pci),
            user=self.users.user(vf.pci),
            without_netdev=self.users.without_netdev(vf.pci),
        )


def override(tree: sysfs.Tree, pci: devices.PciAddress) -> str | None:
    """Return the driver override; sysfs shows "(null)" if there is none (pci-sysfs.c, driver_override_show())."""
    text = sysfs.text(tree.pci(pci) / "driver_override")
    return None if text in (None, "", "(null)") else text


def shown(net: kernel.Kernel, pf: int, vf: int) -> settings.VfSettings | None:
    """Return what the PF reports of its VF; None if it reports no VFs, or the kernel's answer breaks off before it."""
    with contextlib.suppress(errors.KernelError):
        return net.vf(pf, vf)
    return None
