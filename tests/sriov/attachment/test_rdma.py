"""RDMA devices that go with their VF, and come home with it, on the kernel in memory."""

import errno
import pathlib

import msgspec
import pytest

from sriov import errors
from sriov.attachment import plans, rdma
from sriov.linux import kernel
from sriov.state import ledger
from tests.fakes import bench, memory_kernel


@pytest.fixture
def here(tmp_path: pathlib.Path) -> bench.Bench:
    made = bench.make(tmp_path)
    made.machine.rdma_is_exclusive = True
    return made


def attach(here: bench.Bench) -> kernel.RdmaDevice:
    """With the VF's one RDMA device."""
    [device] = rdma.movable(here.node, here.vfs[0])
    here.attach(msgspec.structs.replace(here.request(), rdma=(device,)))
    return device


def where(here: bench.Bench) -> list[str]:
    return [here.machine.namespaces()[each.where] for each in here.machine.rdmas(here.vfs[0])]


def test_it_follows_its_netdev_while_that_is_down(here: bench.Bench) -> None:
    device = here.machine.add_rdma(here.vfs[0])
    request = msgspec.structs.replace(here.request(), rdma=(device,))
    netdev = here.node.tree.netdev(request.vf.pci)
    assert netdev is not None
    steps = plans.plan(here.node.target(request.vf, netdev.address), netdev, request)
    moved = steps.index(plans.MoveRdma(device, request.vf.pci))
    assert isinstance(steps[moved - 1], plans.Move)
    assert not any(isinstance(step, plans.Configure) for step in steps[:moved])


def test_there_and_home_again(here: bench.Bench) -> None:
    here.machine.add_rdma(here.vfs[0])
    before = here.machine.snapshot()
    device = attach(here)
    assert where(here) == ["pod"]
    record = here.book.read(here.vfs[0])
    assert record is not None
    assert record.rdma == (device,)
    here.detach(pod=here.pod)
    assert here.machine.snapshot() == before


def test_nothing_moves_where_they_are_shared(here: bench.Bench) -> None:
    here.machine.add_rdma(here.vfs[0])
    here.machine.rdma_is_exclusive = False
    assert rdma.movable(here.node, here.vfs[0]) == ()


def test_a_vf_without_one_costs_no_request(here: bench.Bench) -> None:
    here.machine.add_rdma(here.vfs[1])
    here.machine.fail_at(0)
    assert rdma.movable(here.node, here.vfs[0]) == ()
    assert here.machine.requests == []


def test_each_request_failing_in_turn_leaves_it_at_home(here: bench.Bench) -> None:
    here.machine.add_rdma(here.vfs[0])
    here.attach(msgspec.structs.replace(here.request(), rdma=rdma.movable(here.node, here.vfs[0])))
    here.detach(pod=here.pod)
    before = here.machine.snapshot()
    request = msgspec.structs.replace(here.request(), rdma=rdma.movable(here.node, here.vfs[0]))
    for k in range(1, 100):
        here.machine.fail_at(k)
        try:
            here.attach(request)
        except errors.KernelError:
            here.machine.fail_at(0)
        else:
            reached = len(here.machine.requests) >= k
            here.machine.fail_at(0)
            here.detach(pod=here.pod)
            if not reached:
                assert k > 8
                return
        assert here.machine.snapshot() == before, k
        assert list(here.book.records()) == []


def test_a_driver_that_cannot_move_it_is_named_and_the_add_undone(here: bench.Bench) -> None:
    device = here.machine.add_rdma(here.vfs[0], movable=False)
    before = here.machine.snapshot()
    with pytest.raises(
        errors.UnsupportedError, match=rf"{device.name} cannot move .*Operation not supported.*rdmaIsolation"
    ):
        attach(here)
    assert here.machine.snapshot() == before
    assert list(here.book.records()) == []


def test_f4_it_is_found_in_the_pod_by_its_index_and_gets_its_name_back(here: bench.Bench) -> None:
    here.machine.add_rdma(here.vfs[0])
    before = here.machine.snapshot()
    device = attach(here)
    memory_kernel.MemoryKernel(here.machine, here.pod.identity).rename_rdma(device.index, "mine0")
    here.detach(pod=here.pod)
    assert here.machine.snapshot() == before


def test_f5_a_destroyed_namespace_sends_it_home_under_the_name_it_has(here: bench.Bench) -> None:
    here.machine.add_rdma(here.vfs[0])
    before = here.machine.snapshot()
    device = attach(here)
    memory_kernel.MemoryKernel(here.machine, here.pod.identity).rename_rdma(device.index, "mine0")
    here.machine.destroy("pod")
    here.detach()
    assert here.machine.snapshot() == before


def test_a_name_that_another_device_took_meanwhile_stays_with_it(here: bench.Bench) -> None:
    here.machine.add_rdma(here.vfs[0])
    other = here.machine.add_rdma(here.vfs[1])
    device = attach(here)
    memory_kernel.MemoryKernel(here.machine, here.pod.identity).rename_rdma(device.index, "mine0")
    memory_kernel.MemoryKernel(here.machine, here.machine.home.identity).rename_rdma(other.index, device.name)
    here.detach(pod=here.pod)
    assert [each.device.name for each in here.machine.rdmas(here.vfs[0])] == ["mine0"]
    assert where(here) == ["host"]


def test_a_device_that_is_nowhere_to_be_seen_is_waited_for(here: bench.Bench) -> None:
    """Its namespace lives, and nobody knows which it is: the record stays, and so does the VF's configuration."""
    here.machine.add_rdma(here.vfs[0])
    attach(here)
    with pytest.raises(errors.BusyError, match="neither in the host nor in the pod"):
        here.detach()
    assert here.book.read(here.vfs[0]) is not None
    assert here.vf_state() == bench.WANTED
    here.detach(pod=here.pod)
    assert where(here) == ["host"]


def test_f27_a_vf_that_lost_its_rdma_device_meanwhile_is_released(here: bench.Bench) -> None:
    here.machine.add_rdma(here.vfs[0])
    attach(here)
    here.machine.unbind(here.vfs[0])
    here.detach(pod=here.pod)
    assert list(here.book.records()) == []


def test_a_refused_homecoming_keeps_the_record_and_the_next_finishes(here: bench.Bench) -> None:
    here.machine.add_rdma(here.vfs[0])
    before = here.machine.snapshot()
    attach(here)
    here.machine.fail_at(0)
    here.detach(pod=here.pod)
    undisturbed = len(here.machine.requests)
    assert any("RDMA" in each for each in here.machine.requests)
    for k in range(1, 100):
        attach(here)
        here.machine.fail_at(k, errno.EIO)
        try:
            here.detach(pod=here.pod)
        except errors.KernelError:
            assert here.book.read(here.vfs[0]) is not None
            here.machine.fail_at(0)
            here.detach(pod=here.pod)
        else:
            if len(here.machine.requests) < k:
                assert k == undisturbed + 1
                return
        assert here.machine.snapshot() == before, k


def test_both_of_two_devices_come_home(here: bench.Bench) -> None:
    first, second = (here.machine.add_rdma(here.vfs[0]) for _ in range(2))
    here.attach(msgspec.structs.replace(here.request(), rdma=(first, second)))
    with here.node.kernel() as net, net.inside(here.pod) as inner:
        inner.move_rdma(first.index, here.machine.home)
    here.detach(pod=here.pod)
    assert where(here) == ["host", "host"]


def test_a_record_of_an_older_version_has_none(here: bench.Bench, tmp_path: pathlib.Path) -> None:
    here.attach(here.request())
    path = tmp_path / f"run/vfs/{here.vfs[0]}.json"
    text = path.read_text()
    assert ',"rdma":[]' in text
    path.write_text(text.replace(',"rdma":[]', ""))
    record: ledger.Record | None = here.book.read(here.vfs[0])
    assert record is not None
    assert record.rdma == ()
