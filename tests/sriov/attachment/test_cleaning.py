"""A VF comes home as it was first seen, whatever its last owner did to it, or it is kept back."""

import dataclasses
import errno
import pathlib

import msgspec
import pytest

from sriov import devices, errors
from sriov.hardware import sysfs
from sriov.linux import kernel
from tests.fakes import bench, memory_kernel, world

PF = "enp1s0"


@pytest.fixture
def here(tmp_path: pathlib.Path) -> bench.Bench:
    return bench.make(tmp_path)


def device(here: bench.Bench, vf: int = 0) -> world.Device:
    [found] = here.machine.netdevs(here.vfs[vf])
    return found


def state(here: bench.Bench, vf: int = 0) -> kernel.LinkState:
    net = memory_kernel.MemoryKernel(here.machine, device(here, vf).where)
    return net.state(device(here, vf).link.index)


def attach(here: bench.Bench) -> world.Device:
    here.attach(here.request())
    return device(here)


def give_altname(given: world.Device, *names: str) -> None:
    given.link = msgspec.structs.replace(given.link, altnames=(*given.link.altnames, *names))


@pytest.mark.parametrize("altname", ["enp1s0v0", PF, "eth0", "net2"])
@pytest.mark.parametrize("dies", [False, True])
def test_h1_an_altname_of_the_pods_choice_does_not_come_home(here: bench.Bench, altname: str, dies: bool) -> None:
    before = here.machine.snapshot()
    give_altname(attach(here), altname)
    if dies:
        here.machine.destroy("pod")
    here.detach(pod=None if dies else here.pod)
    assert here.machine.snapshot() == before


def test_h1_an_altname_that_comes_back_while_the_vf_leaves(here: bench.Bench) -> None:
    """Root in the pod adds it again just before the move: a request is looked into and not believed."""
    before = here.machine.snapshot()
    given = attach(here)
    here.machine.before(3, lambda: give_altname(given, PF))
    here.detach(pod=here.pod)
    assert here.machine.snapshot() == before


@pytest.mark.parametrize("name", ["net1", "enp1s0v0"])
def test_h2_a_link_of_the_vfs_name_is_not_the_vf(here: bench.Bench, name: str) -> None:
    """The pod has moved the VF into a namespace of its own making and has a veth in its place."""
    given = attach(here)
    with here.machine.namespace("child") as child:
        given.where = child.identity
        here.machine.add_link(name, here.pod)
        links = [each.link.name for each in here.machine.here(here.machine.home.identity)]
        with pytest.raises(errors.BusyError, match="neither in the host nor in the pod"):
            here.detach(pod=here.pod)
    assert [each.link.name for each in here.machine.here(here.machine.home.identity)] == links
    here.machine.destroy("child")
    here.detach(pod=here.pod)
    assert here.at_home("enp1s0v0").parent == here.vfs[0]


def test_h3_every_setting_is_compared_and_set_back(here: bench.Bench) -> None:
    """Also one that this program has never heard of."""
    first = state(here)
    given = attach(here)
    given.extra |= {"txqueuelen": b"\1\0\0\0", "broadcast": b"\2" * 6, "attribute 99": b"\1", "features.3": b"\0"}
    del given.extra["group"]
    here.detach(pod=here.pod)
    assert state(here) == first


def test_h3_what_cannot_be_set_back_goes_with_the_netdev(here: bench.Bench) -> None:
    first = state(here)
    here.machine.stuck = {"xdp"}
    attach(here).extra["xdp"] = b"\7"
    was = device(here).link.index
    here.detach(pod=here.pod)
    assert state(here) == first
    assert device(here).link.index != was, "its driver was not bound again"
    assert here.book.read(here.vfs[0]) is None


def test_h3_what_outlasts_even_that_is_kept_back_by_name(here: bench.Bench) -> None:
    here.machine.stuck = {"features"}
    here.machine.in_firmware[here.vfs[0]] = {"features.3": b"\0"}
    attach(here).extra["features.3"] = b"\0"
    with pytest.raises(errors.UncleanError, match="features"):
        here.detach(pod=here.pod)
    record = here.book.read(here.vfs[0])
    assert record is not None
    assert "features" in record.problem
    del here.machine.in_firmware[here.vfs[0]]
    here.detach()
    assert here.book.read(here.vfs[0]) is None


@pytest.mark.parametrize("reason", ["read-only", "nobody binds"])
def test_h3_where_no_driver_can_be_bound_it_is_kept_back_too(here: bench.Bench, reason: str) -> None:
    here.machine.stuck = {"xdp"}
    attach(here).extra["xdp"] = b"\7"
    if reason == "read-only":
        there = dataclasses.replace(here, node=msgspec.structs.replace(here.node, writer=None))
    else:
        here.machine.node.set_attribute(devices.pci_address("0000:01:00.0"), "sriov_drivers_autoprobe", "0")
        there = here
    with pytest.raises(errors.UncleanError, match=r"changed xdp.*bind it to its driver again"):
        there.detach(pod=here.pod)
    assert sysfs.target(here.node.tree.pci(here.vfs[0]) / "driver") == "igbvf", "it has lost its driver"


def test_h3_what_changes_by_itself_is_no_tenants(here: bench.Bench) -> None:
    here.machine.restless, here.machine.stuck = {"attribute 98"}, {"attribute 98"}
    was = attach(here).link.index
    here.detach(pod=here.pod)
    assert (device(here).link.index, here.book.read(here.vfs[0])) == (was, None)


def test_h3_what_a_driver_makes_anew_each_time_is_noted(here: bench.Bench) -> None:
    """A random key: neither the first one nor the tenant's."""
    here.machine.stuck = {"rss"}
    attach(here).extra["rss.5"] = b"tenant's"
    here.machine.in_firmware[here.vfs[0]] = {"rss.5": b"driver's"}
    here.detach(pod=here.pod)
    assert here.book.identities.state(here.node.tree, here.vfs[0]) == state(here)
    was = attach(here).link.index
    here.detach(pod=here.pod)
    assert device(here).link.index == was


def test_h3_a_vf_that_nobody_saw_before_its_owner_has_what_any_netdev_has(here: bench.Bench) -> None:
    """As when the daemon comes to a node where a former version has attached pods."""
    first = state(here)
    given = attach(here)
    here.book.identities.forget(here.vfs[0])
    given.extra |= {"alias": b"x", "broadcast": b"\2" * 6, "group": b"\1\0\0\0", "xdp": b"\x08\0\6\0\1\0\0\0"}
    give_altname(given, "eth0")
    here.detach(pod=here.pod)
    assert {key: value for key, value in state(here).items() if key != "xdp"} == first


def test_h9_a_refusal_that_lasts_ends_with_a_new_netdev(here: bench.Bench) -> None:
    """One may pass by itself, and is not worth it: the same has to come twice. The second try need not rename."""
    attach(here)
    here.machine.destroy("pod")
    was = device(here).link.index
    here.machine.fail_at(4, errno.EIO)
    with pytest.raises(errors.KernelError, match="show the settings"):
        here.detach()
    assert device(here).link.index == was
    here.machine.fail_at(2, errno.EIO)
    here.detach()
    assert device(here).link.index != was
    assert here.book.read(here.vfs[0]) is None


def test_h9_a_name_that_is_refused_is_not_insisted_on(here: bench.Bench) -> None:
    attach(here)
    here.machine.destroy("pod")
    here.machine.fail_at(0)
    here.detach()
    rename = next(number for number, each in enumerate(here.machine.requests, 1) if each.startswith("rename"))
    with here.machine.namespace("another") as another:
        attach(dataclasses.replace(here, pod=another))
        here.machine.destroy("another")
    here.machine.fail_at(rename, errno.EEXIST)
    here.detach()
    assert here.at_home("vf000001100").parent == here.vfs[0]
