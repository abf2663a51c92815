"""What `services: "auto"` chooses, and who else translates for a node's sockets."""

import pathlib

import pytest

from sriov_cni.dataplane.modes import choice, other_balancers
from sriov_cni.dataplane.modes.choice import WaysThereAre
from tests.sriov_cni.dataplane import bpf, test_services

pins, translator = test_services.pins, test_services.translator
BROKEN = ("programs for Services are attached but do not run: connect4",)
CILIUM = ("cil_sock4_conne",)


@pytest.mark.parametrize(
    ("facts", "mode", "reason"),
    [
        (WaysThereAre(translates=True), "socket", "as its proof shows"),
        (WaysThereAre(translates=True, others=CILIUM, host_link=True), "socket", "as its proof shows"),
        (WaysThereAre(translates=True, netdev=False, host_link=True), "off", "the VF has no netdev"),
        (WaysThereAre(translates=False, others=CILIUM), "off", "Cilium's programs translate"),
        (WaysThereAre(translates=False, others=CILIUM, host_link=True), "off", "cil_sock4_conne"),
        (WaysThereAre(translates=True, problems=BROKEN, others=CILIUM), "off", "Cilium's programs translate"),
        (WaysThereAre(translates=False, host_link=True), "host", "no --services, and the network has a host link"),
        (
            WaysThereAre(translates=True, problems=BROKEN, host_link=True),
            "host",
            "do not run: connect4), and the network has",
        ),
        (WaysThereAre(translates=False), "off", "no --services, and no host link, or no"),
        (WaysThereAre(translates=True, problems=BROKEN), "off", "do not run: connect4), and no host link"),
    ],
)
def test_it_is_the_first_way_that_there_is(facts: WaysThereAre, mode: str, reason: str) -> None:
    found = choice.choose(facts)
    assert (found.mode, reason in found.reason) == (mode, True), found


@pytest.mark.root
@pytest.mark.usefixtures("translator")
def test_programs_of_another_balancer_are_known_by_their_names() -> None:
    """Ours, under their own names, stand for Cilium's."""
    names = frozenset({"connect4", "connect6"})
    assert {*other_balancers.CiliumLook(bpf.cgroup, names)()} == names
    assert other_balancers.CiliumLook(bpf.cgroup)() == ()


@pytest.mark.root
def test_a_look_is_kept_for_a_while() -> None:
    asked = []

    def cgroup() -> pathlib.Path:
        asked.append(1)
        return bpf.cgroup()

    look = other_balancers.CiliumLook(cgroup)
    assert [look() for _ in range(3)] == [(), (), ()]
    assert len(asked) == 1


def test_a_kernel_that_cannot_be_asked_has_none() -> None:
    assert other_balancers.CiliumLook(lambda: pathlib.Path("/nowhere"))() == ()
