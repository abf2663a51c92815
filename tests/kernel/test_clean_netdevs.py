"""Changes by root in a pod to a netdev are found by comparing, and set back, by the machine's own kernel (root)."""

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest

from sriov.attachment import cleaning
from sriov.linux import kernel, netlink, netns
from sriov.linux.netdev import netdev_settings
from tests.kernel import namespaces, programs

pytestmark = pytest.mark.root

ACTS = {
    "altname": "ip link property add dev veth0 altname eth0",
    "alias": "ip link set veth0 alias mine",
    "group": "ip link set veth0 group 7",
    "txqueuelen": "ip link set veth0 txqueuelen 1",
    "gso_max_size": "ip link set veth0 gso_max_size 4000",
    "gso_max_segs": "ip link set veth0 gso_max_segs 7",
    "gro_max_size": "ip link set veth0 gro_max_size 4000",
    "no multicast": "ip link set veth0 multicast off",
    "broadcast address": "ip link set veth0 broadcast 02:00:00:00:00:66",
    "link mode": "ip link set veth0 mode dormant",
    "debug flag": "ip link set veth0 allmulticast on arp off promisc on trailers on",
    "features": "ethtool -K veth0 gro on tso off tx off",
    "channels": "ethtool -L veth0 rx 1 tx 1",
}


@contextlib.contextmanager
def veth() -> Iterator[tuple[namespaces.Namespace, netlink.Netlink, int]]:
    with namespaces.made("home") as home:
        subprocess.run(
            f"ip -n {home.name} link add veth0 numtxqueues 2 numrxqueues 2 type veth peer name veth1".split(),
            check=True,
        )
        with netns.entered(home.handle), contextlib.closing(netlink.Netlink()) as net:
            yield home, net, net.link("veth0").index


def act(where: namespaces.Namespace, command: str) -> None:
    subprocess.run(["ip", "netns", "exec", where.name, *command.split()], check=True, capture_output=True)


@pytest.mark.parametrize("name", sorted(ACTS))
def test_h3_each_act_is_seen_and_set_back(name: str) -> None:
    with veth() as (home, net, index):
        before = net.state(index)
        act(home, ACTS[name])
        assert netdev_settings.differing(before, net.state(index, before)), "nothing was changed"
        if name == "altname":  # at home they are dropped before the look; in the end the same
            net.drop_altname(index, "eth0")
        assert cleaning.clean(net, index, before) == {}
        assert net.state(index) == before


def test_h3_all_acts_at_once() -> None:
    with veth() as (home, net, index):
        before = net.state(index)
        for name in sorted(ACTS.keys() - {"altname"}):
            act(home, ACTS[name])
        assert cleaning.clean(net, index, before) == {}
        assert net.state(index) == before


@pytest.mark.parametrize("place", [programs.XDP, programs.TCX_INGRESS])
def test_h3_a_program_that_a_link_holds_somewhere(place: int) -> None:
    """rtnetlink does not take off what a link holds, and shows no tcx at all."""
    with veth() as (_, net, index):
        before = net.state(index)
        program = programs.load(place)
        held = programs.link(program, index, place)
        found = net.state(index, before)
        assert netdev_settings.shown(netdev_settings.differing(before, found)) in ("xdp", "tcx ingress")
        assert cleaning.clean(net, index, before) == {}
        assert net.state(index) == before
        os.close(held)
        os.close(program)


def test_h3_an_xdp_program_that_nothing_holds() -> None:
    with veth() as (home, net, index):
        before = net.state(index)
        program = programs.load(programs.XDP)
        with netns.entered(home.handle):
            programs.attach_xdp(program, index)
        os.close(program)
        assert netdev_settings.shown(netdev_settings.differing(before, net.state(index, before))) == "xdp"
        assert cleaning.clean(net, index, before) == {}
        assert net.state(index) == before


def test_h3_a_tcx_program_that_nothing_holds() -> None:
    with veth() as (_, net, index):
        before = net.state(index)
        program = programs.load(programs.TCX_INGRESS)
        programs.attach(program, index, programs.TCX_INGRESS)
        os.close(program)
        assert net.state(index, before) != before
        assert cleaning.clean(net, index, before) == {}
        assert net.state(index) == before


def test_h3_a_neighbours_link_of_the_same_number_is_left_alone() -> None:
    """A link tells its netdev's index and not its namespace."""
    with veth() as (_, net, index), namespaces.made("pod") as pod:
        command = f"ip -n {pod.name} link add veth0 index {index} type veth peer name veth1"
        subprocess.run(command.split(), check=True)
        before = net.state(index)
        program = programs.load(programs.XDP)
        with netns.entered(pod.handle):
            neighbours = programs.link(program, index, programs.XDP)
        held = programs.link(program, index, programs.XDP)
        left = cleaning.clean(net, index, before)
        assert netdev_settings.shown(left.keys()) == "xdp"
        with net.inside(pod.handle) as inner:
            assert netdev_settings.xdp_program(inner.state(index))
        for descriptor in (neighbours, held, program):
            os.close(descriptor)


def test_h3_a_state_is_the_same_at_home_after_a_visit() -> None:
    """What changes with place, traffic and carrier is no setting: a tenant that did nothing leaves nothing."""
    with veth() as (home, net, index), namespaces.made("pod") as pod:
        before: kernel.LinkState = net.state(index)
        net.move(index, pod.handle, "net1", kernel.Change(up=True))
        act(home, "ip link set veth1 up")
        with net.inside(pod.handle) as inner:
            moved = inner.link("net1")
            inner.set_link(moved.index, kernel.Change(up=False))
            inner.move(moved.index, home.handle, "veth0")
        assert net.state(net.link("veth0").index, before) == before
