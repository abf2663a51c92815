"""Root in a pod does to a real VF what it can, and the VF comes home as it was first seen."""

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from sriov import errors, settings
from sriov.attachment import attach
from sriov.attachment.node import Node
from sriov.hardware import sysfs
from sriov.linux import kernel, netns, sysfs_writes
from sriov.linux.netdev import netdev_settings
from sriov.state import ledger
from tests.kernel import namespaces, programs
from tests.lab import igb

VF = 3
ACTS = (
    "ip link property add dev net1 altname {pf}",
    "ip link property add dev net1 altname {home}",
    "ip link property add dev net1 altname eth0",
    "ip link set net1 alias mine group 7 txqueuelen 1",
    "ip link set net1 multicast off allmulticast on promisc on",
    "ip link set net1 broadcast 02:00:00:00:00:66",
    "ip link set net1 gso_max_segs 7",
    "ethtool -K net1 gro off tso off rx off",
    "ethtool -G net1 rx 512 tx 512",
    "ethtool -C net1 rx-usecs 100",
    "ethtool -s net1 msglvl 1",
    "ip link set net1 name eth9",
)


@contextlib.contextmanager
def host(folder: pathlib.Path) -> Iterator[tuple[Node, ledger.Ledger]]:
    with igb.host(folder) as (here, book):
        yield msgspec.structs.replace(here, writer=sysfs_writes.Sysfs(igb.TREE.root)), book


@contextlib.contextmanager
def borrowed() -> Iterator[sysfs.Netdev]:
    """As igb.borrowed(), of a VF whose netdev may be another one afterwards."""
    before = igb.TREE.netdev(igb.vf(VF).pci)
    assert before is not None
    yield before
    with igb.opened() as net:
        after = igb.TREE.netdev(igb.vf(VF).pci)
        assert after is not None
        net.rename(after.index, before.name)


def settings_of(vf: int) -> kernel.LinkState:
    netdev = igb.TREE.netdev(igb.vf(vf).pci)
    assert netdev is not None
    with igb.opened() as net:
        return net.state(netdev.index)


def act(pod: namespaces.Namespace, command: str) -> bool:
    names = {"pf": _name(igb.PF0), "home": "vfhome"}
    words = command.format(**names).split()
    return subprocess.run(["ip", "netns", "exec", pod.name, *words], check=False, capture_output=True).returncode == 0


def _name(pci: str) -> str:
    [name] = os.listdir(f"/sys/bus/pci/devices/{pci}/net")
    return name


@pytest.mark.parametrize("dies", [False, True])
def test_h1_h3_whatever_the_pod_did_it_comes_home_as_it_was(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, dies: bool
) -> None:
    with borrowed() as netdev, host(tmp_path) as (here, book):
        with igb.opened() as net:
            net.rename(netdev.index, "vfhome")
        before = settings_of(VF)
        with namespaces.made("pod") as pod:
            attach.attach(here, book, igb.request(here, VF, settings.BASELINE), pod.handle)
            done = [act(pod, command) for command in ACTS]
            assert done.count(True) >= len(ACTS) - 2, dict(zip(ACTS, done, strict=True))
            if not dies:
                igb.give_back(here, book, igb.vf(VF).pci, pod.handle)
        if dies:
            assert namespaces.until(lambda: igb.TREE.netdev(igb.vf(VF).pci) is not None)
            igb.give_back(here, book, igb.vf(VF).pci, None)
        assert netdev_settings.differing(before, settings_of(VF)) == set(), caplog.text
        home = igb.TREE.netdev(igb.vf(VF).pci)
        assert home is not None
        assert (home.name, home.address, home.index) == ("vfhome", netdev.address, netdev.index), caplog.text
        assert list(book.records()) == []


def test_h3_what_cannot_be_set_back_ends_with_the_netdev(tmp_path: pathlib.Path) -> None:
    """Two links of one program and one index: one is a neighbour's and neither is touched, so the driver is."""
    with borrowed() as netdev, host(tmp_path) as (here, book), namespaces.made("pod") as pod:
        before = settings_of(VF)
        attach.attach(here, book, igb.request(here, VF, settings.BASELINE), pod.handle)
        with namespaces.made("other") as other:
            command = f"ip -n {other.name} link add veth0 index {netdev.index} type veth peer name veth1"
            subprocess.run(command.split(), check=True)
            program = programs.load(programs.XDP)
            held = []
            for where in (pod, other):
                with netns.entered(where.handle):
                    held.append(programs.link(program, netdev.index, programs.XDP))
            igb.give_back(here, book, igb.vf(VF).pci, pod.handle)
            with igb.opened() as net, net.inside(other.handle) as inner:
                assert netdev_settings.xdp_program(inner.state(netdev.index)), "a neighbour has lost its program"
        for descriptor in (*held, program):
            os.close(descriptor)
        home = igb.TREE.netdev(igb.vf(VF).pci)
        assert home is not None
        assert (home.name, home.address) == (netdev.name, netdev.address)
        assert home.index != netdev.index
        assert netdev_settings.differing(before, settings_of(VF)) == set()
        again = attach.attach(here, book, igb.request(here, VF, settings.BASELINE), pod.handle)
        assert again.address == netdev.address
        igb.give_back(here, book, igb.vf(VF).pci, pod.handle)


def test_h3_where_sysfs_cannot_be_written_it_is_kept_back_by_name(tmp_path: pathlib.Path) -> None:
    with borrowed() as netdev, igb.host(tmp_path) as (here, book), namespaces.made("pod") as pod:
        attach.attach(here, book, igb.request(here, VF, settings.BASELINE), pod.handle)
        with namespaces.made("other") as other:
            command = f"ip -n {other.name} link add veth0 index {netdev.index} type veth peer name veth1"
            subprocess.run(command.split(), check=True)
            program = programs.load(programs.XDP)
            held = []
            for where in (pod, other):
                with netns.entered(where.handle):
                    held.append(programs.link(program, netdev.index, programs.XDP))
            with pytest.raises(errors.UncleanError, match="changed xdp"):
                igb.give_back(here, book, igb.vf(VF).pci, pod.handle)
            for descriptor in (*held, program):
                os.close(descriptor)
        igb.give_back(here, book, igb.vf(VF).pci, None)
        assert list(book.records()) == []
