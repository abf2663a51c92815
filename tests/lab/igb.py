"""The guest's PFs and VFs for a test, and a way back to the baseline whatever the test did."""

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

from sriov import devices, errors, settings
from sriov.attachment import attach, detach, node, plans
from sriov.hardware import inventory, pci, sysfs
from sriov.linux import kernel, netlink, netns
from sriov.state import ledger
from tests.kernel import namespaces

TREE = sysfs.Tree()
PF0 = devices.pci_address("0000:01:00.0")
PF1 = devices.pci_address("0000:02:00.0")
UNSUPPORTED = {settings.Setting.LINK_STATE}


@contextlib.contextmanager
def opened() -> Iterator[kernel.Kernel]:
    with contextlib.closing(netlink.Netlink()) as net:
        yield net


def vf(index: int, pf: devices.PciAddress = PF0) -> devices.VF:
    """Read this VF alone: an emulated CPU takes a while for all of them."""
    address = pci.vf(TREE.pci(pf), index)
    assert address is not None, f"{pf} has no VF {index}"
    return inventory.lookup(TREE, devices.pci_address(address))


def pf_index(pf: devices.PciAddress = PF0) -> int:
    netdev = TREE.netdev(pf)
    assert netdev is not None
    return netdev.index


def administered(index: int, pf: devices.PciAddress = PF0) -> settings.VfSettings:
    """What the PF shows of the VF."""
    with opened() as net:
        return net.vf(pf_index(pf), index)


@contextlib.contextmanager
def borrowed(index: int, pf: devices.PciAddress = PF0) -> Iterator[sysfs.Netdev]:
    """A VF's netdev at home; afterwards the VF is at the baseline, with its name and address."""
    netdev = TREE.netdev(vf(index, pf).pci)
    assert netdev is not None
    try:
        yield netdev
    finally:
        with opened() as net:
            with contextlib.suppress(errors.KernelError):
                net.set_link(netdev.index, kernel.Change(up=False))
                net.rename(netdev.index, netdev.name)
            net.set_vf(pf_index(pf), index, settings.BASELINE, settings.EVERY_SETTING - UNSUPPORTED)
            net.set_link(netdev.index, kernel.Change(address=netdev.address, mtu=netdev.mtu))
        subprocess.run(["ip", "address", "flush", "dev", netdev.name], check=True)


@contextlib.contextmanager
def emptied(pf: devices.PciAddress) -> Iterator[None]:
    """The PF without VFs; afterwards with as many as before, with their own driver."""
    folder = TREE.pci(pf)
    (folder / "sriov_numvfs").write_text("0")
    try:
        yield
    finally:
        (folder / "sriov_numvfs").write_text("0")
        (folder / "sriov_drivers_autoprobe").write_text("1")
        netdev = TREE.netdev(pf)
        assert netdev is not None
        subprocess.run(["ip", "link", "set", netdev.name, "up", "mtu", "1500"], check=True)
        (folder / "sriov_numvfs").write_text("7")
        assert namespaces.until(lambda: all(TREE.netdev(vf(index, pf).pci) for index in range(7)))


@contextlib.contextmanager
def host(folder: pathlib.Path) -> Iterator[tuple[node.Node, ledger.Ledger]]:
    """This machine as an attachment sees it."""
    book = ledger.Ledger(folder / "run")
    book.create()
    with netns.own() as home:
        yield node.Node(TREE, opened, home), book


def request(here: node.Node, index: int, wanted: settings.VfSettings, pf: devices.PciAddress = PF0) -> plans.Request:
    """The VF as net1 of container c1."""
    owner = ledger.Owner(container_id="c1", ifname="net1", network="n1", netns="/run/netns/x")
    return plans.Request(here.lookup(vf(index, pf).pci), owner, wanted)


def give_back(here: node.Node, book: ledger.Ledger, pci: devices.PciAddress, pod: netns.Netns | None) -> None:
    """Take back what has a record."""
    record = book.read(pci)
    assert record is not None
    detach.detach(here, book, record, pod)


def hand_out(folder: pathlib.Path, index: int) -> str:
    """Give the VF to a pod with a MAC, and take it back; returns the MAC that it had there."""
    wanted = settings.VfSettings(mac=f"02:00:00:00:ce:0{index}", vlan=100)
    with host(folder) as (here, book), namespaces.made("pod") as pod:
        link = attach.attach(here, book, request(here, index, wanted), pod.handle)
        give_back(here, book, vf(index).pci, pod.handle)
    return link.address
