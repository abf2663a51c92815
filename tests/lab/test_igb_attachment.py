"""Attaching and detaching real VFs."""

import asyncio
import concurrent.futures
import contextlib
import errno
import functools
import pathlib
import subprocess
import time

import pytest

from sriov import devices, errors, settings
from sriov.attachment import attach, detach, plans
from sriov.attachment.node import Node
from sriov.linux import kernel, netns
from sriov.state import ledger
from sriov_cni.commands import repair
from sriov_cni.context import calls
from tests.kernel import namespaces
from tests.lab import drivers, igb

MAC = "02:00:00:00:cc:01"
WANTED = settings.VfSettings(mac=MAC, vlan=100, qos=3, spoofchk=False, trust=True, max_tx_rate=200)


def request(here: Node, index: int, wanted: settings.VfSettings = WANTED, ifname: str = "net1") -> plans.Request:
    owner = ledger.Owner(container_id=f"c{index}", ifname=ifname, network="n1", netns="/run/netns/x")
    return plans.Request(here.lookup(igb.vf(index).pci), owner, wanted)


def seen(index: int) -> tuple[object, settings.VfSettings]:
    """What the next owner would find."""
    with igb.opened() as net:
        return igb.TREE.netdev(igb.vf(index).pci), net.vf(igb.pf_index(), index)


def give_back(here: Node, book: ledger.Ledger, pci: devices.PciAddress, pod: netns.Netns | None) -> None:
    record = book.read(pci)
    assert record is not None
    detach.detach(here, book, record, pod)


def inside(pod: netns.Netns, name: str = "net1") -> kernel.Link:
    with igb.opened() as net, net.inside(pod) as inner:
        return inner.link(name)


def carrier(pod: namespaces.Namespace, name: str) -> int:
    """A counter or state of the link in the pod, from the pod's own sysfs."""
    show = ["ip", "netns", "exec", pod.name, "cat", f"/sys/class/net/net1/{name}"]
    return int(subprocess.run(show, check=True, capture_output=True, text=True).stdout)


def test_f30_the_mac_is_on_the_vf_without_a_bounce(tmp_path: pathlib.Path) -> None:
    with igb.borrowed(0) as netdev, igb.host(tmp_path) as (here, book), namespaces.made("pod") as pod:
        ups = int((igb.TREE.pci(igb.vf(0).pci) / "net" / netdev.name / "carrier_up_count").read_text())
        link = attach.attach(here, book, request(here, 0), pod.handle)
        assert (link.address, link.up, link.parent) == (MAC, True, igb.vf(0).pci)
        _until(lambda: carrier(pod, "carrier") == 1)
        assert carrier(pod, "carrier_up_count") - ups == 1
        with igb.opened() as net:
            assert net.vf(igb.pf_index(), 0) == WANTED
        give_back(here, book, igb.vf(0).pci, pod.handle)


def test_detach_leaves_the_vf_as_it_was(tmp_path: pathlib.Path) -> None:
    with igb.borrowed(0), igb.host(tmp_path) as (here, book), namespaces.made("pod") as pod:
        for _ in range(2):
            before = seen(0)
            attach.attach(here, book, request(here, 0), pod.handle)
            give_back(here, book, igb.vf(0).pci, pod.handle)
            # The second time around also what the PF shows as the VF's own MAC is settled.
        assert seen(0) == before
        assert list(book.records()) == []


def test_f5_a_destroyed_namespace(tmp_path: pathlib.Path) -> None:
    with igb.borrowed(1) as netdev, igb.host(tmp_path) as (here, book):
        with namespaces.made("pod") as pod:
            attach.attach(here, book, request(here, 1), pod.handle)
        _until(lambda: igb.TREE.netdev(igb.vf(1).pci) is not None)
        stranded = igb.TREE.netdev(igb.vf(1).pci)
        assert stranded is not None
        assert (stranded.name, stranded.address) == ("net1", MAC)
        give_back(here, book, igb.vf(1).pci, None)
        assert igb.TREE.netdev(igb.vf(1).pci) == netdev
        assert seen(1)[1].vlan == 0


def test_f35_an_unsupported_setting_is_named_and_undone(tmp_path: pathlib.Path) -> None:
    with igb.borrowed(2), igb.host(tmp_path) as (here, book), namespaces.made("pod") as pod:
        before = seen(2)[0]
        refused = request(here, 2, settings.VfSettings(vlan=5, link_state=settings.LinkState.DISABLE))
        with pytest.raises(errors.UnsupportedError, match="link_state disable"):
            attach.attach(here, book, refused, pod.handle)
        assert seen(2)[0] == before
        assert seen(2)[1].vlan == 0


def test_f24_seven_vfs_of_one_pf_at_once(tmp_path: pathlib.Path) -> None:
    with contextlib.ExitStack() as stack:
        for index in range(7):
            stack.enter_context(igb.borrowed(index))
        here, book = stack.enter_context(igb.host(tmp_path))
        pod = stack.enter_context(namespaces.made("pod"))
        requests = [
            request(here, index, settings.VfSettings(vlan=10 + index, mac=f"02:00:00:00:cd:0{index}"), f"net{index}")
            for index in range(7)
        ]
        with concurrent.futures.ThreadPoolExecutor(7) as pool:
            links = list(pool.map(lambda each: attach.attach(here, book, each, pod.handle), requests))
            assert [link.address for link in links] == [each.wanted.mac for each in requests]
            with igb.opened() as net:
                assert [net.vf(igb.pf_index(), index).vlan for index in range(7)] == list(range(10, 17))
            list(pool.map(lambda each: give_back(here, book, each.vf.pci, pod.handle), requests))
        assert all(igb.TREE.netdev(igb.vf(index).pci) for index in range(7))


def test_f26_numvfs_changes_under_a_pod(tmp_path: pathlib.Path) -> None:
    """The VF vanishes from the pod and new ones come: nothing is left to restore, and nothing fails."""
    numvfs = igb.TREE.pci(igb.PF0) / "sriov_numvfs"
    with igb.host(tmp_path) as (here, book), namespaces.made("pod") as pod:
        pci = igb.vf(3).pci
        attach.attach(here, book, request(here, 3), pod.handle)
        numvfs.write_text("0")
        give_back(here, book, pci, pod.handle)
        assert list(book.records()) == []
        numvfs.write_text("7")
        _until(lambda: all(igb.TREE.netdev(igb.vf(index).pci) for index in range(7)))


def test_f25_a_pf_that_was_down_takes_a_vf_that_was_not_reset_since(tmp_path: pathlib.Path) -> None:
    """The VF refuses its address until it is reset: that is the kernel's own answer, and attach() copes with it."""
    pf = igb.TREE.netdev(igb.PF0)
    assert pf is not None
    before = [igb.TREE.netdev(igb.vf(index).pci) for index in range(7)]
    time.sleep(3)  # igb says no to a VF at most once in two seconds (igb_rcv_msg_from_vf()), and silence is no refusal
    for state in ("down", "up"):
        subprocess.run(["ip", "link", "set", pf.name, state], check=True)
    _until(lambda: (igb.TREE.pci(igb.PF0) / "net" / pf.name / "carrier").read_text() == "1\n")
    netdev = before[0]
    assert netdev is not None
    with igb.opened() as net, pytest.raises(errors.KernelError) as caught:
        net.set_link(netdev.index, kernel.Change(address="02:00:00:00:ce:ff"))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    for index in range(7):
        assert igb.hand_out(tmp_path, index) == f"02:00:00:00:ce:0{index}"
    assert [igb.TREE.netdev(igb.vf(index).pci) for index in range(7)] == before


def test_f14_the_own_address_outlives_a_driver_that_takes_an_administered_one(tmp_path: pathlib.Path) -> None:
    """igbvf makes an administered MAC its own and its permanent one when it is bound."""
    pci, stranger = igb.vf(5).pci, "02:00:00:00:dd:01"
    before, driver = igb.TREE.netdev(pci), igb.TREE.pci(pci) / "driver"
    assert before is not None
    with igb.host(tmp_path) as (here, book), namespaces.made("pod") as pod:
        with igb.opened() as net:
            book.identities.settle(here.tree, pci, before, functools.partial(net.state, before.index))
        with igb.opened() as net:
            net.set_vf(igb.pf_index(), 5, settings.VfSettings(mac=stranger), {settings.Setting.MAC})
        folder = driver.resolve()
        (folder / "unbind").write_text(pci)
        (folder / "bind").write_text(pci)
        _until(lambda: igb.TREE.netdev(pci) is not None)
        bound = igb.TREE.netdev(pci)
        assert bound is not None
        assert bound.address == stranger
        link = attach.attach(here, book, request(here, 5, settings.BASELINE), pod.handle)
        assert link.address == before.address
        give_back(here, book, pci, pod.handle)
        after = igb.TREE.netdev(pci)
        assert after is not None
        assert after.address == before.address


def test_f14_a_userspace_vf_whose_pod_is_gone_without_a_del(tmp_path: pathlib.Path) -> None:
    pci = igb.vf(4).pci
    with igb.host(tmp_path) as (here, book), drivers.bound(pci, "vfio-pci"):
        daemon = calls.Daemon(here, book)
        with namespaces.made("pod") as pod:
            attach.attach_userspace(here, book, request(here, 4, settings.VfSettings(vlan=5)), pod.handle)
            asyncio.run(repair.repair(daemon))
            assert [record.pci for record in book.records()] == [pci], "a living owner's VF is left alone"
            assert vlan(4) == 5

        def released() -> bool:
            asyncio.run(repair.repair(daemon))
            return list(book.records()) == []

        _until(released)
        assert vlan(4) == 0


def test_f21_the_pf_is_renamed_while_a_pod_has_its_vf(tmp_path: pathlib.Path) -> None:
    pf = igb.TREE.netdev(igb.PF0)
    assert pf is not None
    with igb.borrowed(2) as netdev, igb.host(tmp_path) as (here, book), namespaces.made("pod") as pod:
        attach.attach(here, book, request(here, 2), pod.handle)
        with igb.opened() as net:
            net.rename(pf.index, "uplink0")
            try:
                give_back(here, book, igb.vf(2).pci, pod.handle)
                assert vlan(2) == 0
            finally:
                net.rename(pf.index, pf.name)
        assert igb.TREE.netdev(igb.vf(2).pci) == netdev


def vlan(index: int) -> int:
    with igb.opened() as net:
        return net.vf(igb.pf_index(), index).vlan


def _until(true: object, seconds: float = 20) -> None:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
