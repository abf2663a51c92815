"""Known defects, each with the schedule that shows it. Strict: who mends one takes the mark off."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import pytest

from sriov import settings
from tests.crash import invariants, mortal, steps
from tests.fakes import world

Make = Callable[[world.Profile], mortal.MortalNode]


@pytest.fixture
def make(folder: pathlib.Path) -> Iterator[Make]:
    made: list[mortal.MortalNode] = []

    def one(profile: world.Profile) -> mortal.MortalNode:
        made.append(mortal.MortalNode(folder, profile))
        for name in steps.CONTAINERS:
            made[0].pod(name)
        return made[0]

    yield one
    made[0].close()


def test_f14_a_driver_that_has_learnt_vlans_since(make: Make) -> None:
    """As mlx5 that goes from switchdev to legacy mode: EOPNOTSUPP at first, then VLANs work."""
    without = dataclasses.replace(world.PERMISSIVE, unsupported=frozenset({settings.Setting.VLAN}))
    here = make(without)
    assert here.add("c1", {}).ok
    assert here.delete("c1").ok
    slot = here.machine.netdevs(here.vfs[0])[0].slot
    assert slot
    table = here.machine.pf(slot[0])
    assert table
    table.profile = world.PERMISSIVE
    assert here.add("c2", {"vlan": 100}).ok
    assert here.delete("c2").ok
    assert invariants.state_of(here, here.vfs[0]) == settings.BASELINE
    assert here.add("c3", {}).ok
    invariants.assert_given(here, "c3", here.vfs[0], settings.BASELINE)


@pytest.mark.xfail(strict=True, reason="DEL does nothing about a VF whose record is damaged")
def test_f8_a_damaged_record_costs_the_next_pod_nothing(make: Make) -> None:
    """The VF comes home under the pod's name and MAC, with its VLAN, and the next pod gets that MAC as the VF's own."""
    here = make(world.IGB)
    assert here.add("c1", steps.KEYS).ok
    path = here.run_dir / f"vfs/{here.vfs[0]}.json"
    path.write_bytes(path.read_bytes()[:50])
    assert here.delete("c1").ok
    here.machine.destroy("c1")
    assert here.add("c2", {}).ok
    [device] = here.machine.netdevs(here.vfs[0])
    assert device.link.address != steps.MAC


def test_c36_a_second_add_with_another_vf_leaves_the_first_its_address(make: Make) -> None:
    here = make(world.IGB)
    assert here.add("c1", steps.KEYS).ok
    assert not here.add("c1", {}, vf=1).ok
    invariants.assert_given(here, "c1", here.vfs[0], steps.WANTED)


def test_f31_del_of_a_vf_without_a_netdev_whose_driver_clears_no_mac(make: Make) -> None:
    here = make(world.STUBBORN)
    assert here.add("c1", {"vlan": 5}).ok
    here.machine.unbind(here.vfs[0])
    answer = here.delete("c1")
    assert answer.ok, answer


@pytest.mark.xfail(strict=True, reason="a userspace VF's dead owner is not noticed")
def test_f14_a_userspace_vf_whose_owner_is_gone_without_a_del(make: Make) -> None:
    here = make(world.IGB)
    here.machine.unbind(here.vfs[0])
    here.machine.node.set_driver(here.vfs[0], "vfio-pci")
    assert here.add("c1", {"vlan": 5}).ok
    here.machine.destroy("c1")
    assert here.repair().ok
    answer = here.add("c2", {})
    assert answer.ok, answer


@pytest.mark.xfail(strict=True, reason="a VF with unknown history keeps the address that somebody administered")
def test_f14_an_administered_mac_that_came_with_the_driver(make: Make) -> None:
    here = make(world.IGB)
    slot = here.machine.netdevs(here.vfs[0])[0].slot
    assert slot
    here.machine.administer(*slot, settings.VfSettings(mac="02:00:00:00:dd:01"))
    here.machine.unbind(here.vfs[0])
    here.machine.bind(here.vfs[0])
    assert here.add("c1", {}).ok
    [device] = here.machine.netdevs(here.vfs[0])
    assert device.link.address != "02:00:00:00:dd:01"
