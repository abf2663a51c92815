"""A step that fails leaves the node as it was, whichever it is, and says which; a pod that comes between is safe."""

import contextlib
import dataclasses
import errno
import itertools
import pathlib
from collections.abc import Callable

import pytest

from sriov import devices, errors
from sriov.provisioning import apply, document, steps
from sriov.provisioning.steps import Act
from tests.fakes import drivers, world
from tests.sriov.provisioning import nodes

MACS = "  macRange: {first: 02:00:00:00:01:00, last: 02:00:00:00:01:0f}\n"
BOTH = "policies:\n- selector: {pfNames: [eth1, eth2]}\n"
FILES = [
    BOTH + "  numVfs: 3\n  mtu: 9000\n  trust: true\n" + MACS,
    BOTH + "  numVfs: 2\n  mtu: 9000\n  spoofchk: false\n" + MACS,
    BOTH + "  numVfs: 2\n  driver: vfio-pci\n" + MACS,
    BOTH + "  numVfs: 2\n  driver: default\n  mtu: 2000\n",
    BOTH + "  numVfs: 0\n",
]
VFIO = BOTH + "  numVfs: 2\n  driver: vfio-pci\n"


class Failing:
    """Hands that fail at the step of that number, before it or when it is done, or do something else then."""

    def __init__(self, hands: apply.Hands, number: int, then: Callable[[], None], *, after: bool) -> None:
        self._hands, self._number, self._then, self._after = hands, number, then, after

    def do(self, step: steps.ProvisioningStep) -> None:
        self._number -= 1
        if self._number == 0 and not self._after:
            self._then()
        self._hands.do(step)
        if self._number == 0 and self._after:
            self._then()

    def in_the_way(self, step: steps.ProvisioningStep) -> tuple[devices.PciAddress, str] | None:
        return self._hands.in_the_way(step)


def fail() -> None:
    raise errors.KernelError("do that", errno.EIO)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("text", FILES)
@pytest.mark.parametrize(("profile", "start"), [(world.IGB, None), (world.IGB, VFIO), (drivers.MLX5, FILES[1])])
def test_whichever_step_fails(
    tmp_path: pathlib.Path, start: str | None, text: str, after: bool, profile: world.Profile
) -> None:
    with nodes.made(tmp_path, 2, profile) as node:
        if start is not None:
            node.apply(start)
        before = node.seen()
        planned = node.plan(text).steps
        for number in range(1, len(planned) + 1):
            with pytest.raises(apply.ProvisionError, match=f"step {number} of {len(planned)} failed, to .*as it was"):
                apply.apply(Failing(node.machine, number, fail, after=after), planned)
            assert node.seen() == before, planned[number - 1]
        node.apply(text)
        assert node.plan(text).steps == ()


class Killed(BaseException):
    """By SIGKILL: nothing is taken back."""


@pytest.mark.slow
@pytest.mark.parametrize("text", FILES)
@pytest.mark.parametrize("start", [None, FILES[1], VFIO])
def test_a_death_at_whichever_step_is_made_good_by_the_next_run(
    tmp_path: pathlib.Path, start: str | None, text: str
) -> None:
    def die() -> None:
        raise Killed

    number, unfinished = 0, True
    while unfinished:
        number += 1
        (tmp_path / str(number)).mkdir()
        with nodes.made(tmp_path / str(number), 2) as node:
            if start is not None:
                node.apply(start)
            planned = node.plan(text).steps
            unfinished = number < len(planned)
            with contextlib.suppress(Killed):
                apply.apply(Failing(node.machine, number, die, after=True), planned)
            node.apply(text)
            assert node.plan(text).steps == ()
            policy = document.parse(text.encode(), "node.yaml")[0]
            assert {vf.declared for pf in node.seen().pfs for vf in pf.vfs} <= {policy.declared}


def test_each_step_is_told_before_it_is_done(empty: nodes.Node) -> None:
    told: list[str] = []
    apply.apply(empty.machine, empty.plan(BOTH + "  numVfs: 7\n").steps, lambda step: told.append(str(step)))
    assert told == ["set numVfs of eth1 to 7", "set numVfs of eth2 to 7"]


def test_a_pod_that_is_given_a_vf_meanwhile_keeps_it(filled: nodes.Node) -> None:
    """Between two steps of a plan that changes free VFs one by one."""
    before = filled.seen()
    planned = filled.plan(BOTH + "  numVfs: 4\n  trust: true\n").steps
    hands = Failing(filled.machine, 2, lambda: filled.pods.update({before.pfs[0].vfs[2].pci: "a/b"}), after=True)
    with pytest.raises(apply.ProvisionError, match=r"step 7 of 16 failed, .*eth1#2 .*in use by pod a/b; .*as it was"):
        apply.apply(hands, planned)
    filled.pods.clear()
    assert filled.seen() == before


def test_vfs_are_not_removed_under_a_pod_that_has_just_come(filled: nodes.Node) -> None:
    planned = filled.plan(BOTH + "  numVfs: 7\n").steps
    filled.pods[filled.pf().vfs[2].pci] = "a/b"
    with pytest.raises(apply.ProvisionError, match=r"step 1 of 4 failed, to set numVfs of eth1 to 0: .* by pod a/b"):
        apply.apply(filled.machine, planned)
    assert len(filled.pf().vfs) == 4


def test_what_cannot_be_put_back_is_said(filled: nodes.Node) -> None:
    planned = filled.plan(BOTH + "  numVfs: 7\n").steps
    assert [step.after for step in planned] == [0, 7, 0, 7]

    def broken() -> None:
        filled.writes.refuse["sriov_numvfs"] = errno.ENOMEM
        fail()

    with pytest.raises(apply.ProvisionError, match=r"could not be put back: set numVfs of eth1 to 0: .*ENOMEM"):
        apply.apply(Failing(filled.machine, 2, broken, after=True), planned)


def test_an_interrupt_takes_everything_back(filled: nodes.Node) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    before = filled.seen()
    planned = filled.plan(FILES[1]).steps
    for number in itertools.count(1):
        if number > len(planned):
            break
        with pytest.raises(KeyboardInterrupt):
            apply.apply(Failing(filled.machine, number, interrupt, after=True), planned)
        assert filled.seen() == before


def test_a_driver_that_does_not_take_the_vf(filled: nodes.Node) -> None:
    """drivers_probe says nothing of it."""
    before = filled.seen()
    (filled.machine.node.tree.root / "bus/pci/drivers/uio_pci_generic").mkdir()
    planned = filled.plan(BOTH + "  numVfs: 4\n  driver: uio_pci_generic\n").steps
    assert {step.act for step in planned} == {Act.DRIVER}
    with pytest.raises(apply.ProvisionError, match="has driver none and not uio_pci_generic"):
        apply.apply(filled.machine, planned)
    assert filled.seen().pfs == before.pfs


@pytest.mark.parametrize("start", ["  numVfs: 0\n", "  numVfs: 4\n  driver: vfio-pci\n  trust: true\n"])
def test_a_driver_that_has_not_heard_of_its_address_is_told_it(filled: nodes.Node, start: str) -> None:
    """Also where the VF was trusted before, and has put the address that it made up in the administered one's place."""
    filled.apply(BOTH + start)
    filled.unanswered(1, 2)
    text = BOTH + "  numVfs: 4\n  driver: default\n  trust: true\n" + MACS
    filled.apply(text)
    expected = [f"02:00:00:00:01:0{index}" for index in range(4)]
    assert [(vf.address, vf.shown and vf.shown.mac) for vf in filled.pf().vfs] == [(mac, mac) for mac in expected]
    assert filled.plan(text).steps == ()


def test_an_address_that_does_not_stick_is_a_failure(tmp_path: pathlib.Path) -> None:
    with nodes.made(tmp_path, profile=dataclasses.replace(world.IGB, ignores_own_address=True)) as node:
        before = node.seen().pfs
        node.unanswered(1)
        with pytest.raises(
            apply.ProvisionError,
            match=r"driver of eth1#1 to default: eth1#1 keeps address 02:ff\S+ and does not take 02:00\S+; .*as it was",
        ):
            node.apply(BOTH + "  numVfs: 2\n" + MACS)
        assert node.seen().pfs == before
