"""A pod is given RDMA device nodes when it is admitted, and its VF has them still when it runs."""

import asyncio
import concurrent.futures
import pathlib
import threading
import time
from collections.abc import Iterator

import pytest

from sriov import devices
from sriov.hardware import sysfs
from sriov_cni.commands import repair
from sriov_cni.context import calls
from tests.fakes import bench, world
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode
from tests.sriov_cni.shim import shims

SOON = 0.3  # seconds


@pytest.fixture(params=shims.BOTH)
def four(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[CniNode]:
    """The first four VFs have an RDMA device each, with nodes 0 to 3. The daemon has had its look at its start."""
    made = bench.make(tmp_path)
    for vf in made.vfs[:4]:
        made.machine.add_rdma(vf)
    [last] = made.machine.rdmas(made.vfs[3])
    last.umad = 9
    made.machine.show_rdma(last.pci)
    socket = tmp_path / "cni.sock"
    with harness.daemon(made.node, made.book, socket, made.machine.adopt):
        _wait_for_its_look(made.machine, last)
        client = harness.Client(socket, "", made.machine.path("pod"), shims.command(request.param))
        found = CniNode(made, client, tmp_path)
        assert numbers(found) == [0, 1, 2, 3]
        yield found
    made.pod.close()
    made.machine.close()


def _wait_for_its_look(machine: world.World, device: world.Rdma) -> None:
    """A gap makes a daemon ask whether it may fill it. Then there is none any more."""
    deadline = time.monotonic() + 30
    while not any("share RDMA devices" in each for each in machine.requests):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    device.umad = 3
    machine.show_rdma(device.pci)
    machine.rdma_is_exclusive = True


def nodes(cni: CniNode, vf: devices.PciAddress) -> tuple[str, ...]:
    return sysfs.names(cni.bench.node.tree.pci(vf) / "infiniband_verbs")


def numbers(cni: CniNode) -> list[int | None]:
    """Of each VF's uverbs."""
    return [each.uverbs for vf in cni.bench.vfs for each in cni.bench.machine.rdmas(vf)]


def add(cni: CniNode, vf: int, pod: str = "", **env: str) -> harness.Answer:
    """`pod` is the pod's UID; each VF has a container and an interface of its own."""
    args = f"IgnoreUnknown=1;K8S_POD_UID={pod or f'u{vf}'}"
    names = {"CONTAINERID": f"c{vf}", "IFNAME": f"net{vf}", "ARGS": args, **env}
    return cni.client.call("ADD", cni.conf(deviceID=cni.bench.vfs[vf]), **names)


def delete(cni: CniNode, vf: int) -> harness.Answer:
    names = {"CONTAINERID": f"c{vf}", "IFNAME": f"net{vf}"}
    return cni.client.call("DEL", cni.conf(deviceID=cni.bench.vfs[vf]), **names)


def look(cni: CniNode) -> None:
    """What the daemon does now and then."""
    asyncio.run(repair.repair(calls.Daemon(cni.bench.node, cni.bench.book)))


def let_the_next_overtake(cni: CniNode) -> None:
    """A device that leaves is on its way until another has left and arrived, if one does so soon."""
    waiting, overtaken = threading.Lock(), threading.Event()

    def on_its_way(_: devices.PciAddress) -> None:
        if not waiting.acquire(blocking=False):
            overtaken.set()
            return
        if overtaken.wait(SOON):
            time.sleep(SOON / 10)  # until that one has its numbers
        overtaken.clear()
        waiting.release()

    cni.bench.machine.rdma_on_its_way = on_its_way


@pytest.mark.slow
def test_pods_that_start_and_end_at_once_do_not_get_each_others(four: CniNode) -> None:
    before = [nodes(four, vf) for vf in four.bench.vfs]
    let_the_next_overtake(four)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for step in (add, delete):
            answers = list(pool.map(lambda vf, step=step: step(four, vf), range(4)))
            assert [each.code for each in answers] == [0] * 4, answers
            assert [nodes(four, vf) for vf in four.bench.vfs] == before


def test_a_gap_goes_to_the_free_device_with_the_highest_number(four: CniNode) -> None:
    four.bench.machine.unbind(four.bench.vfs[0])
    assert numbers(four) == [1, 2, 3]
    assert add(four, 1).code == 0
    assert numbers(four) == [1, 2, 0]
    assert add(four, 2).code == 0
    assert numbers(four) == [1, 2, 0]


def test_a_device_that_is_alone_above_a_gap_gets_another_number_before_its_next_pod(four: CniNode) -> None:
    """The first pod was given the old one, which it cannot have any more."""
    for vf in (0, 3):
        four.bench.machine.unbind(four.bench.vfs[vf])
    before = four.bench.machine.snapshot()
    answer = add(four, 2)
    assert (answer.code, "would change its RDMA device nodes" in answer.message) == (11, True), answer
    assert four.bench.machine.snapshot() == before
    look(four)
    assert numbers(four) == [1, 0]
    for _ in range(2):
        answer = add(four, 2)
        assert answer.code == 7, answer
        assert "has uverbs0, issm0, umad0 and not uverbs2, issm2, umad2, which its pod was given" in answer.message
        assert "delete the pod" in answer.message
    assert numbers(four) == [1, 0]
    assert add(four, 2, pod="next").code == 0
    assert delete(four, 2).code == 0
    assert add(four, 2, pod="next").code == 0, "the pod's next sandbox"
    assert numbers(four) == [1, 0]


def test_a_device_that_nothing_can_settle_costs_one_pod(four: CniNode) -> None:
    """The host uses it, so that it is not moved before it has to be."""
    four.bench.machine.unbind(four.bench.vfs[0])
    for vf in (1, 2, 3):
        [device] = four.bench.machine.netdevs(four.bench.vfs[vf])
        four.bench.machine.bring(device, True)
    before = four.bench.machine.snapshot()
    assert add(four, 3).code == 11
    look(four)
    assert four.bench.machine.snapshot() == before
    answer = add(four, 3)
    assert (answer.code, "and not uverbs3" in answer.message) == (7, True), answer
    assert list(four.bench.book.records()) == []
    assert numbers(four) == [1, 2, 0]
    assert add(four, 3).code == 7
    assert add(four, 3, pod="next").code == 0


def test_a_namespace_that_dies_meanwhile_takes_the_number(four: CniNode) -> None:
    """The kernel brings its device home by itself, whoever is on the way."""
    with four.bench.machine.namespace("dying"):
        assert add(four, 2, NETNS=four.bench.machine.path("dying")).code == 0
    four.bench.machine.rdma_on_its_way = lambda pci: (
        four.bench.machine.destroy("dying") if pci == four.bench.vfs[1] and numbers(four)[2] == 2 else None
    )
    answer = add(four, 1)
    assert (answer.code, "and not uverbs1" in answer.message) == (7, True), answer
    assert [each.pci for each in four.bench.book.records()] == [four.bench.vfs[2]]
    assert add(four, 1).code == 7
    assert add(four, 1, pod="next").code == 0


def test_gaps_are_filled_with_free_devices_alone(four: CniNode) -> None:
    """Not with a pod's, and not with one whose netdev is up: the host may use it."""
    assert add(four, 3).code == 0
    [device] = four.bench.machine.netdevs(four.bench.vfs[2])
    four.bench.machine.bring(device, True)
    four.bench.machine.unbind(four.bench.vfs[0])
    look(four)
    assert numbers(four) == [0, 2, 3]
    four.bench.machine.bring(device, False)
    look(four)
    assert numbers(four) == [0, 1, 3]


def test_a_gap_in_umads_numbers_counts_too(four: CniNode) -> None:
    """iWARP has no umad, so that the two classes count differently."""
    [first], [last] = (four.bench.machine.rdmas(four.bench.vfs[vf]) for vf in (0, 3))
    first.umad = None
    for name in ("umad0", "issm0"):
        (four.bench.node.tree.root / "class/infiniband_mad" / name).unlink()
    look(four)
    assert (last.uverbs, last.umad) == (3, 0)


@pytest.mark.parametrize("why", ["shared", "unmovable"])
def test_nothing_is_settled_where_nothing_can_be(cni: CniNode, why: str) -> None:
    cni.bench.machine.rdma_is_exclusive = why != "shared"
    for vf in cni.bench.vfs[:2]:
        cni.bench.machine.add_rdma(vf, movable=False)
    cni.bench.machine.unbind(cni.bench.vfs[0])
    before = cni.bench.machine.snapshot()
    look(cni)
    assert cni.bench.machine.snapshot() == before


def test_without_a_uid_a_pod_is_known_by_its_sandbox(four: CniNode) -> None:
    for vf in (0, 3):
        four.bench.machine.unbind(four.bench.vfs[vf])
    network = four.conf(deviceID=four.bench.vfs[2])
    assert four.client.call("ADD", network).code == 11
    look(four)
    assert four.client.call("ADD", network).code == 7
    assert four.client.call("ADD", network, CONTAINERID="c2").code == 0
