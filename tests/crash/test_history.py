"""VFs with a past that nobody wrote down, or that cannot be read any more: none of it reaches the next pod."""

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


def damage(here: mortal.MortalNode) -> None:
    path = here.run_dir / f"vfs/{here.vfs[0]}.json"
    path.write_bytes(path.read_bytes()[:50])


def test_f8_a_damaged_record_costs_the_next_pod_nothing(make: Make) -> None:
    here = make(world.IGB)
    assert here.add("c1", steps.KEYS).ok
    damage(here)
    assert here.delete("c1").ok
    invariants.assert_settled(here)
    here.machine.destroy("c1")
    assert here.add("c2", {}).ok
    invariants.assert_given(here, "c2", here.vfs[0], settings.BASELINE)


@pytest.mark.parametrize("finds_it", ["repair", "add"])
def test_f8_a_damaged_record_and_no_del(make: Make, finds_it: str) -> None:
    """While the pod lives, nobody gets its VF; then the VF is restored by whoever comes first."""
    here = make(world.IGB)
    assert here.add("c1", steps.KEYS).ok
    damage(here)
    answer = here.add("c2", {})
    assert (answer.code, "an unknown container" in answer.message) == (11, True)
    assert here.delete("c2").ok
    here.repair()
    assert here.machine.netdevs(here.vfs[0])[0].link.address == steps.MAC
    here.machine.destroy("c1")
    if finds_it == "repair":
        assert here.repair().ok
        assert here.records() == {}
        invariants.assert_sound(here)
    else:
        assert here.add("c2", {}).ok
        invariants.assert_given(here, "c2", here.vfs[0], settings.BASELINE)


def test_f8_all_that_was_known_of_a_vf_is_damaged(make: Make) -> None:
    """Its own name and address are lost for good: it gets a name and an address that no former owner chose."""
    here = make(world.IGB)
    assert here.add("c1", steps.KEYS).ok
    damage(here)
    (here.run_dir / f"homes/{here.vfs[0]}.json").write_bytes(b"{")
    here.machine.destroy("c1")
    assert here.repair().ok
    [device] = here.machine.netdevs(here.vfs[0])
    assert device.link.name == "vf000001100"
    assert settings.mac(device.link.address) not in (steps.MAC, here.identities[here.vfs[0]].address)
    assert invariants.state_of(here, here.vfs[0]) == settings.BASELINE
    assert here.add("c2", {}).ok
    assert here.machine.netdevs(here.vfs[0])[0].link.address == device.link.address


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


@pytest.mark.parametrize("finds_it", ["repair", "add"])
def test_f14_a_userspace_vf_whose_owner_is_gone_without_a_del(make: Make, finds_it: str) -> None:
    here = make(world.IGB)
    here.machine.unbind(here.vfs[0])
    here.machine.node.set_driver(here.vfs[0], "vfio-pci")
    assert here.add("c1", {"vlan": 5}).ok
    before = here.machine.snapshot()
    assert here.repair().ok
    assert here.add("c2", {}).code == 11
    assert here.machine.snapshot() == before, "a living owner's VF was touched"
    here.machine.destroy("c1")
    if finds_it == "repair":
        assert here.repair().ok
        assert here.records() == {}
    assert here.add("c2", {}).ok
    assert here.records()[here.vfs[0]].owner.container_id == "c2"


def test_f14_a_userspace_vf_whose_owners_number_went_to_another_pod(make: Make) -> None:
    """The kernel gives the lowest number that is free: the next pod's namespace usually gets a dead pod's."""
    here = make(world.IGB)
    here.machine.unbind(here.vfs[0])
    here.machine.node.set_driver(here.vfs[0], "vfio-pci")
    assert here.add("c1", {"vlan": 5}).ok
    first = here.records()[here.vfs[0]].mark
    here.machine.destroy("c1")
    with here.machine.namespace("c2") as reborn:
        number, _ = here.machine.numbers_of(reborn.identity)
    assert first
    assert number == first.number
    assert here.repair().ok
    assert here.records() == {}


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
