"""The guest's PFs and VFs for a test, and a way back to the baseline whatever the test did."""

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

from sriov import (
    attachment,
    detachment,
    devices,
    errors,
    inventory,
    kernel,
    ledger,
    netlink,
    netns,
    node,
    plans,
    settings,
    sysfs,
)
from tests.kernel import namespaces

TREE = sysfs.Tree()
PF0 = devices.pci_address("0000:01:00.0")
UNSUPPORTED = {settings.Setting.LINK_STATE}


@contextlib.contextmanager
def opened() -> Iterator[kernel.Kernel]:
    with contextlib.closing(netlink.Netlink()) as net:
        yield net


def vf(index: int) -> devices.VF:
    """A VF of the first PF."""
    found = [each for each in inventory.scan(TREE).vfs.values() if (each.pf, each.index) == (PF0, index)]
    return found[0]


def pf_index() -> int:
    pf = TREE.netdev(PF0)
    assert pf is not None
    return pf.index


@contextlib.contextmanager
def borrowed(index: int) -> Iterator[sysfs.Netdev]:
    """A VF's netdev at home; afterwards the VF is at the baseline, with its name and address."""
    netdev = TREE.netdev(vf(index).pci)
    assert netdev is not None
    try:
        yield netdev
    finally:
        with opened() as net:
            with contextlib.suppress(errors.KernelError):
                net.set_link(netdev.index, kernel.Change(up=False))
                net.rename(netdev.index, netdev.name)
            net.set_vf(pf_index(), index, settings.BASELINE, settings.EVERY_SETTING - UNSUPPORTED)
            net.set_link(netdev.index, kernel.Change(address=netdev.address, mtu=netdev.mtu))
        subprocess.run(["ip", "address", "flush", "dev", netdev.name], check=True)


@contextlib.contextmanager
def host(folder: pathlib.Path) -> Iterator[tuple[node.Node, ledger.Ledger]]:
    """This machine as an attachment sees it."""
    book = ledger.Ledger(folder / "run")
    book.create()
    with netns.own() as home:
        yield node.Node(TREE, opened, home), book


def hand_out(folder: pathlib.Path, index: int) -> str:
    """Give the VF to a pod with a MAC, and take it back; returns the MAC that it had there."""
    found, mac = vf(index), f"02:00:00:00:ce:0{index}"
    owner = ledger.Owner(container_id="passing", ifname="net1", network="n1", netns="/run/netns/x")
    request = plans.Request(found, owner, settings.VfSettings(mac=mac, vlan=100))
    with host(folder) as (here, book), namespaces.made("pod") as pod:
        link = attachment.attach(here, book, request, pod.handle)
        record = book.read(found.pci)
        assert record is not None
        detachment.detach(here, book, record, pod.handle)
    return link.address
