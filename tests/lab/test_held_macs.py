"""A pod whose network names no MAC is held to its VF's own, on real igb: it cannot take another, and it is heard."""

import contextlib
import errno
import pathlib
import subprocess
from collections.abc import Sequence

import pytest

from sriov import errors, settings
from sriov.attachment import attach, detach, plans
from sriov.attachment.node import Node
from sriov.linux import kernel, netns
from sriov.state import ledger
from tests.kernel import namespaces
from tests.lab import drivers, igb, test_pf_reset, test_reach

FIRST, SECOND = 2, 3
OTHER = "02:00:00:00:ee:01"


def give(here: Node, book: ledger.Ledger, index: int, pod: namespaces.Namespace, name: str = "net1") -> kernel.Link:
    owner = ledger.Owner(container_id=f"c{index}", ifname=name, network="n1", netns=pod.path)
    request = plans.Request(here.lookup(igb.vf(index).pci), owner, settings.BASELINE)
    link = attach.attach(here, book, request, pod.handle)
    address = ["ip", "-n", pod.name, "address", "add", f"10.9.8.{index}/24", "dev", name]
    subprocess.run(address, check=True)
    return link


def take(here: Node, book: ledger.Ledger, indices: Sequence[int], pods: Sequence[netns.Netns]) -> None:
    for index, pod in zip(indices, pods, strict=True):
        record = book.read(igb.vf(index).pci)
        assert record is not None
        detach.detach(here, book, record, pod)


def test_a_pod_is_held_to_its_vfs_own_mac_and_is_heard_there_and_at_home(tmp_path: pathlib.Path) -> None:
    """The second round says all at once; the third comes after the PF was down."""
    with contextlib.ExitStack() as stack:
        before = [stack.enter_context(igb.borrowed(index)) for index in (FIRST, SECOND)]
        here, book = stack.enter_context(igb.host(tmp_path))
        pods = [stack.enter_context(namespaces.made(f"held{index}")) for index in (FIRST, SECOND)]
        for number in range(3):
            if number == 2:
                test_pf_reset.down_and_up(igb.PF0)
                assert namespaces.until(lambda: test_pf_reset.has_link(igb.PF0))
            heard = [here.heard.is_heard(here.tree, igb.vf(index)) for index in (FIRST, SECOND)]
            assert heard == [number == 1] * 2
            for index, pod, own in zip((FIRST, SECOND), pods, before, strict=True):
                assert give(here, book, index, pod).address == own.address
                assert igb.administered(index) == settings.VfSettings(mac=own.address)
            # igbvf of a VF whose PF was down resets it once more by itself, some seconds after it has come up.
            assert any(test_reach.pings(pods[0], f"10.9.8.{SECOND}") for _ in range(4))
            for pod, own in zip(pods, before, strict=True):
                _refuses(pod.handle, own.address)
            assert any(test_reach.pings(pods[0], f"10.9.8.{SECOND}") for _ in range(2))
            take(here, book, (FIRST, SECOND), [pod.handle for pod in pods])
            assert [igb.TREE.netdev(igb.vf(index).pci) for index in (FIRST, SECOND)] == before
        _reach_each_other_at_home(stack, before[0].name, before[1].name)
        _bounce_all()


def _refuses(pod: netns.Netns, own: str) -> None:
    with igb.opened() as net, net.inside(pod) as inner:
        for up in (True, False):
            with pytest.raises(errors.KernelError) as refused:
                inner.set_link("net1", kernel.Change(address=OTHER, up=up))
            assert refused.value.errno == errno.EADDRNOTAVAIL
            inner.set_link("net1", kernel.Change(up=up))
            with pytest.raises(errors.KernelError):
                inner.set_link("net1", kernel.Change(address=OTHER))
            assert inner.link("net1").address == own
        inner.set_link("net1", kernel.Change(up=True))


def _reach_each_other_at_home(stack: contextlib.ExitStack, first: str, second: str) -> None:
    """Moved by hand, as they are: nobody told them anything since they came home."""
    pods = [stack.enter_context(namespaces.made(f"plain{name}")) for name in (first, second)]
    for name, pod, address in zip((first, second), pods, ("10.9.7.1", "10.9.7.2"), strict=True):
        subprocess.run(["ip", "link", "set", name, "netns", pod.name], check=True)
        subprocess.run(["ip", "-n", pod.name, "address", "add", f"{address}/24", "dev", name], check=True)
        subprocess.run(["ip", "-n", pod.name, "link", "set", name, "up"], check=True)
    assert test_reach.pings(pods[0], "10.9.7.2")
    for name, pod in zip((first, second), pods, strict=True):
        subprocess.run(["ip", "-n", pod.name, "link", "set", name, "netns", "1"], check=True)


def _bounce_all() -> None:
    """igb hears no VF that was not reset since its PF was down; other tests set addresses without that."""
    for index in range(7):
        name = igb.TREE.netdev_name(igb.vf(index).pci)
        for state in ("up", "down"):
            subprocess.run(["ip", "link", "set", str(name), state], check=True)


def test_a_vf_without_a_netdev_keeps_what_its_host_administered(tmp_path: pathlib.Path) -> None:
    pci, host = igb.vf(FIRST).pci, settings.VfSettings(mac="02:00:00:00:aa:01")
    mac = frozenset({settings.Setting.MAC})
    with (
        igb.host(tmp_path) as (here, book),
        namespaces.made("pod") as pod,
        drivers.bound(pci, "vfio-pci"),
        igb.opened() as net,
    ):
        net.set_vf(igb.pf_index(), FIRST, host, mac)
        for named, given in ((settings.NO_MAC, host.mac), (OTHER, OTHER)):
            request = igb.request(here, FIRST, settings.VfSettings(mac=named, vlan=5))
            assert attach.attach_userspace(here, book, request, pod.handle) == given
            assert igb.administered(FIRST) == settings.VfSettings(mac=given, vlan=5)
            igb.give_back(here, book, pci, pod.handle)
            assert igb.administered(FIRST) == host
        net.set_vf(igb.pf_index(), FIRST, settings.BASELINE, mac)
