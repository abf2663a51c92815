"""Interfaces that root in a pod renames, moves and makes in any number."""

import pathlib
from collections.abc import Iterator

import pytest

from sriov.cluster import pod_policies
from sriov.linux import kernel
from sriov_cni.dataplane.policies import whereabouts
from tests.fakes import memory_kernel, world

SCOPE = pod_policies.Scope("net1", 0, "host0")


class Pod:
    """A pod with a VF and a host link, and what is known of them."""

    def __init__(self, machine: world.World) -> None:
        self.machine, self.seen = machine, whereabouts.Seen()
        with memory_kernel.opener(machine)() as inner:
            for name, far in (("net1", "far1"), ("host0", "far2")):
                inner.add_pair(
                    kernel.End(name, "02:00:00:00:00:01"), kernel.End(far, "02:00:00:00:00:02"), machine.home
                )
            self.indexes = {name: inner.link(name).index for name in SCOPE.devices}

    def look(self) -> tuple[list[tuple[str, str]], str]:
        with memory_kernel.opener(self.machine)() as inner:
            return whereabouts.look(inner, SCOPE, self.seen)

    def rename(self, now: str, then: str) -> None:
        with memory_kernel.opener(self.machine)() as inner:
            inner.rename(inner.link(now).index, then)


@pytest.fixture
def pod(folder: pathlib.Path) -> Iterator[Pod]:
    machine = world.World(folder)
    yield Pod(machine)
    machine.close()


def test_what_is_in_its_place_is_let_alone_and_all_links_are_never_listed(pod: Pod) -> None:
    pod.machine.requests.clear()
    for _ in range(2):
        assert pod.look() == ([], "")
    assert not [each for each in pod.machine.requests if not each.startswith("show link ")]
    assert pod.seen.indexes == pod.indexes


@pytest.mark.parametrize(("taken", "free"), [("net1", "host0"), ("host0", "net1")])
def test_one_that_cannot_be_renamed_does_not_keep_the_other_from_its_name(pod: Pod, taken: str, free: str) -> None:
    pod.look()
    pod.rename(taken, "first")
    pod.rename(free, "second")
    pod.rename("far1", taken)
    renamed, reason = pod.look()
    assert renamed == [(free, "second")]
    assert reason.startswith(f"its interface {taken} was renamed to first in the pod, and does not get its name back: ")
    pod.rename(taken, "far1")
    assert pod.look() == ([(taken, "first")], "")
    assert pod.look() == ([], "")
