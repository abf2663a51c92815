"""The daemon dies between every two effects of an ADD or DEL of all devices of a pod's claims: all of them or none."""

import itertools
import pathlib
from collections.abc import Callable, Iterator

import pytest

from sriov.state import grants
from tests.crash import invariants, mortal
from tests.fakes import world

ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ml;K8S_POD_NAME=train-0;K8S_POD_UID=pod-uid"
KEYS = {"claims": "alone", "deviceID": None}
NAMES = {("c1", "net1"), ("c1", "net2")}
"""What the call's interface and the further one are called."""
ORDERS = {"beside": mortal.IPAM_AROUND, "on_the_link": mortal.IPAM_ON_THE_LINK}
Call = Callable[[mortal.MortalNode], mortal.Answer]


def add(here: mortal.MortalNode) -> mortal.Answer:
    return here.call("ADD", "c1", 0, "c1", KEYS, args=ARGS)


def delete(here: mortal.MortalNode) -> mortal.Answer:
    return here.call("DEL", "c1", 0, "c1", KEYS, args=ARGS)


def node(folder: pathlib.Path, order: str) -> mortal.MortalNode:
    here = mortal.MortalNode(folder, world.IGB, ORDERS[order])
    here.pod("c1")
    book = grants.Grants(here.run_dir)
    book.create()
    devices = tuple(grants.GrantedDevice(vf, f"vf{n}", "p", "x") for n, vf in enumerate(here.vfs))
    pods = (grants.GrantedPod("train-0", "pod-uid"),)
    book.write(grants.ClaimGrant(uid="u1", namespace="ml", name="rails", pods=pods, devices=devices))
    return here


def deaths(folder: pathlib.Path, order: str, before: tuple[Call, ...], call: Call) -> Iterator[mortal.MortalNode]:
    """A node for each point at which the daemon can die in this call: dead there, and a new daemon started."""
    for k in itertools.count(1):
        (folder / str(k)).mkdir()
        with node(folder / str(k), order) as here:
            assert all(each(here).ok for each in before)
            here.life.die_before(k)
            answer = call(here)
            if not answer.died:
                assert answer.ok, answer
                assert k > 12, "the call has hardly any effects: is it made?"
                return
            here.restart()
            invariants.assert_sound(here)
            yield here


def settled(here: mortal.MortalNode) -> None:
    """Its DEL succeeds and leaves nothing; a pod that comes after it gets all of it."""
    for _ in range(2):
        assert delete(here).ok
    invariants.assert_settled(here)
    assert [*(here.run_dir / "claimed").glob("*.json")] == []
    assert add(here).ok
    assert (len(here.records()), here.ipam.held()) == (2, NAMES)


def goes(here: mortal.MortalNode) -> None:
    grants.Grants(here.run_dir).remove("u1")
    assert delete(here).ok
    invariants.assert_settled(here)


def dies(here: mortal.MortalNode) -> None:
    here.machine.destroy("c1")
    here.repair()
    assert here.call("DEL", "c1", 0, "", KEYS, args=ARGS).ok
    invariants.assert_settled(here)


SEQUELS = {"its_del": settled, "its_grant_goes": goes, "its_namespace_dies": dies}


@pytest.mark.parametrize("sequel", SEQUELS)
@pytest.mark.parametrize("order", ORDERS)
def test_a_death_at_every_point_of_an_add(folder: pathlib.Path, order: str, sequel: str) -> None:
    for here in deaths(folder, order, (), add):
        SEQUELS[sequel](here)


@pytest.mark.parametrize("sequel", SEQUELS)
def test_a_death_at_every_point_of_a_del(folder: pathlib.Path, sequel: str) -> None:
    for here in deaths(folder, "beside", (add,), delete):
        SEQUELS[sequel](here)


def test_what_fails_at_any_request_is_undone(folder: pathlib.Path) -> None:
    """Of the machine's requests, each in turn; there is no death."""
    for number in itertools.count(1):
        (folder / str(number)).mkdir()
        with node(folder / str(number), "beside") as here:
            before = here.machine.snapshot()
            here.machine.fail_at(number)
            answer = add(here)
            made = len(here.machine.requests)
            here.machine.fail_at(0)
            if made < number:
                assert number > 20
                return
            if not answer.ok:  # what nobody has asked for may be refused
                invariants.assert_settled(here)
                assert here.machine.snapshot() == before
