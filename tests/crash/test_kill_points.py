"""The daemon dies between every two effects of ADD and of DEL; whatever the runtime does next, I1 to I6 hold.

Each test walks through all points: it makes the call on a fresh node and lets the daemon die before its first effect,
then before its second, and so on, until the call is answered. F2, F3, F4, F5, F12, C32, C45.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from sriov import settings
from tests.crash import invariants, mortal, steps
from tests.crash.steps import add, adding, delete, delete_elsewhere, deleting, end
from tests.fakes import world

PROFILES = {"igb": world.IGB, "permissive": world.PERMISSIVE, "stubborn": world.STUBBORN}
ORDERS = {
    "ipam_last": mortal.IPAM_LAST,
    "ipam_first": mortal.IPAM_FIRST,
    "ipam_around": mortal.IPAM_AROUND,
    "ipam_on_the_link": mortal.IPAM_ON_THE_LINK,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Interrupted:
    """A call, and what came before it."""

    before: tuple[steps.Step, ...]
    call: steps.Call


CALLS = {
    "add": Interrupted((), adding("c1")),
    "add_after_a_dead_owner": Interrupted((add("c1"), end("c1")), adding("c2")),
    "del": Interrupted((add("c1"),), deleting("c1")),
    "repair": Interrupted((add("c1"), end("c1")), steps.repairing),
    "del_of_the_dead": Interrupted((add("c1"), end("c1")), deleting("c1", "")),
}

ALL_END = (end("c1"), end("c2"))
# What happens after the death. Every container gets its DEL at some time.
SEQUELS = {
    "del_twice": (delete("c2"), delete("c1"), delete("c1"), delete("c2")),
    "repaired_then_del": (*ALL_END, steps.repair, delete("c1"), delete("c2")),
    "namespace_dies": (*ALL_END, delete("c1"), delete("c2"), delete("c2"), delete("c1")),
    "namespace_dies_and_del_has_none": (*ALL_END, delete("c1", ""), delete("c2", ""), delete("c1", "")),
    "del_has_none_while_it_lives": (delete_elsewhere("c1", ""), delete("c2"), delete("c1")),
    "del_has_another": (delete_elsewhere("c1", "c3"), *ALL_END, delete("c2", "c3"), delete("c1", "c3")),
    "next_add_before_any_del": (*ALL_END, add("c4"), delete("c4"), delete("c1"), delete("c2")),
    "late_del_of_former_owners": (*ALL_END, add("c4"), delete("c1"), delete("c2", ""), delete("c4")),
}


def node(
    folder: pathlib.Path,
    profile: world.Profile,
    order: mortal.Order,
    *,
    rdma: bool = False,
    declared: settings.Switches | None = None,
    addressed: bool = False,
) -> mortal.MortalNode:
    here = mortal.MortalNode(folder, profile, order)
    if declared is not None:
        here.declare(declared)
    if addressed:
        here.give_address()
    if rdma:
        here.give_rdma()
    for name in steps.CONTAINERS:
        here.pod(name)
    return here


def deaths(
    folder: pathlib.Path, chosen: Interrupted, profile: str, order: str, **further: Any
) -> Iterator[mortal.MortalNode]:
    """A node for each point at which the daemon can die in this call: dead there, and a new daemon started."""
    for k in itertools.count(1):
        (folder / str(k)).mkdir()
        with node(folder / str(k), PROFILES[profile], ORDERS[order], **further) as here:
            steps.take(here, chosen.before)
            here.life.die_before(k)
            answer = chosen.call(here)
            if not answer.died:
                assert answer.ok, answer
                assert k > 6, "the call has hardly any effects: is it made?"
                return
            here.restart()
            yield here


def follow(here: mortal.MortalNode, sequel: tuple[steps.Step, ...]) -> None:
    invariants.assert_sound(here)
    steps.take(here, sequel)
    invariants.assert_settled(here)
    steps.take(here, (add("c5"), delete("c5"), delete("c5")))
    invariants.assert_settled(here)


@pytest.mark.parametrize("sequel", SEQUELS)
@pytest.mark.parametrize("call", CALLS)
def test_a_death_at_every_point(folder: pathlib.Path, call: str, sequel: str) -> None:
    for here in deaths(folder, CALLS[call], "igb", "ipam_last"):
        follow(here, SEQUELS[sequel])


@pytest.mark.parametrize("order", ["ipam_first", "ipam_around", "ipam_on_the_link"])
@pytest.mark.parametrize("call", CALLS)
def test_a_death_at_every_point_with_ipam_at_another_pace(folder: pathlib.Path, call: str, order: str) -> None:
    for here in deaths(folder, CALLS[call], "igb", order):
        follow(here, SEQUELS["del_twice"])


@pytest.mark.parametrize("sequel", ["del_twice", "late_del_of_former_owners"])
@pytest.mark.parametrize("profile", ["permissive", "stubborn"])
@pytest.mark.parametrize("call", CALLS)
def test_a_death_at_every_point_on_other_drivers(folder: pathlib.Path, call: str, profile: str, sequel: str) -> None:
    for here in deaths(folder, CALLS[call], profile, "ipam_last"):
        follow(here, SEQUELS[sequel])


@pytest.mark.parametrize("sequel", ["del_twice", "namespace_dies", "next_add_before_any_del"])
@pytest.mark.parametrize("call", CALLS)
def test_a_death_at_every_point_of_a_vf_with_declared_defaults(folder: pathlib.Path, call: str, sequel: str) -> None:
    """Declared is what neither the pod nor the baseline has."""
    declared = settings.Switches(trust=True)
    for here in deaths(folder, CALLS[call], "igb", "ipam_last", declared=declared):
        follow(here, SEQUELS[sequel])


@pytest.mark.parametrize("sequel", SEQUELS)
@pytest.mark.parametrize("call", CALLS)
def test_a_death_at_every_point_with_an_rdma_device(folder: pathlib.Path, call: str, sequel: str) -> None:
    for here in deaths(folder, CALLS[call], "igb", "ipam_last", rdma=True):
        follow(here, SEQUELS[sequel])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sequel", SEQUELS)
def test_a_death_at_every_point_with_a_host_link(folder: pathlib.Path, sequel: str, order: str) -> None:
    linked = {**steps.KEYS, "hostLink": True, "viaHost": ["198.51.100.0/24"]}
    for here in deaths(folder, Interrupted((), lambda here: here.add("c1", linked)), "igb", order, addressed=True):
        follow(here, SEQUELS[sequel])
        invariants.assert_no_host_link(here)


def test_a_second_death_in_the_del_that_follows(folder: pathlib.Path) -> None:
    """Every fourth point of an ADD, with every point of the DEL after it."""
    counted = 0
    for k in range(4, 100, 4):
        for j in itertools.count(1):
            (folder / f"{k}-{j}").mkdir()
            with node(folder / f"{k}-{j}", world.IGB, mortal.IPAM_LAST) as here:
                here.life.die_before(k)
                if not here.add("c1", steps.KEYS).died:
                    assert counted > 50
                    return
                here.restart()
                here.life.die_before(j)
                died = here.delete("c1").died
                here.restart()
                follow(here, SEQUELS["del_twice"])
            counted += 1
            if not died:
                break
