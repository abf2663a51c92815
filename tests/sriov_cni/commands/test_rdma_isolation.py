"""RDMA devices from end to end: when an ADD moves them, and what rdma-cni, chained behind it, finds."""

import errno

import pytest

from sriov.linux import kernel
from tests.fakes import memory_kernel
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode


@pytest.fixture
def device(cni: CniNode) -> kernel.RdmaDevice:
    """The first VF's, on a node where each is in one namespace."""
    cni.bench.machine.rdma_is_exclusive = True
    return cni.bench.machine.add_rdma(cni.bench.vfs[0])


def place(cni: CniNode) -> str:
    [found] = cni.bench.machine.rdmas(cni.bench.vfs[0])
    return cni.bench.machine.namespaces()[found.where]


@pytest.mark.usefixtures("device")
def test_it_moves_with_the_vf_and_del_brings_it_home(cni: CniNode) -> None:
    before = cni.bench.machine.snapshot()
    assert cni.client.call("ADD", cni.conf()).code == 0
    assert place(cni) == "pod"
    for _ in range(2):
        assert cni.client.call("DEL", cni.conf()).code == 0
        assert cni.bench.machine.snapshot() == before


@pytest.mark.usefixtures("device")
def test_shared_devices_stay(cni: CniNode) -> None:
    cni.bench.machine.rdma_is_exclusive = False
    assert cni.client.call("ADD", cni.conf()).code == 0
    assert place(cni) == "host"


def test_isolation_that_the_node_cannot_give_is_refused(cni: CniNode, device: kernel.RdmaDevice) -> None:
    cni.bench.machine.rdma_is_exclusive = False
    before = cni.bench.machine.snapshot()
    answer = cni.client.call("ADD", cni.conf(rdmaIsolation=True))
    assert (answer.code, f"share RDMA device {device.name}" in answer.message) == (7, True), answer
    assert "rdma system set netns exclusive" in answer.message
    assert cni.bench.machine.snapshot() == before


@pytest.mark.usefixtures("device")
def test_a_vf_without_one_has_nothing_to_isolate(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf(deviceID=cni.bench.vfs[1], rdmaIsolation=True)).code == 0


@pytest.mark.parametrize(("key", "code"), [(None, 0), (False, 0), (True, 2)])
@pytest.mark.usefixtures("device")
def test_infiniband_devices_stay(cni: CniNode, key: bool | None, code: int) -> None:
    """With its RDMA device an InfiniBand netdev would go too."""
    cni.bench.machine.node.set_attribute(cni.bench.vfs[0], "net/enp1s0v0/type", 32)
    answer = cni.client.call("ADD", cni.conf(rdmaIsolation=key))
    assert (answer.code, place(cni)) == (code, "host"), answer


def test_without_a_cni_path_there_is_no_rdma_cni(cni: CniNode, device: kernel.RdmaDevice) -> None:
    assert cni.client.call("ADD", cni.conf(), PATH=None).code == 0
    assert [each.device for each in cni.bench.machine.rdmas(cni.bench.vfs[0])] == [device]
    assert place(cni) == "pod"


def test_a_string_is_no_answer_to_whether_it_moves(cni: CniNode) -> None:
    assert cni.client.call("ADD", cni.conf(rdmaIsolation="on")).code == 6


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(("key", "found"), [(None, "host"), (False, "host"), (True, "pod")])
def test_where_rdma_cni_is_installed_the_device_is_left_to_it(cni: CniNode, key: bool | None, found: str) -> None:
    harness.ipam_plugin(cni.plugins, "rdma", "echo '{}'")
    assert cni.client.call("ADD", cni.conf(rdmaIsolation=key)).code == 0
    assert place(cni) == found
    assert harness.ipam_calls(cni.plugins, "rdma") == (["VERSION"] if key is None else [])


def test_what_rdma_cni_has_moved_is_its_own_to_bring_back(cni: CniNode, device: kernel.RdmaDevice) -> None:
    harness.ipam_plugin(cni.plugins, "rdma", "echo '{}'")
    assert cni.client.call("ADD", cni.conf()).code == 0
    with cni.bench.node.kernel() as net:
        net.move_rdma(device.index, cni.bench.pod)
    assert cni.client.call("DEL", cni.conf()).code == 0
    assert place(cni) == "pod"


def test_a_driver_that_cannot_move_it_is_code_2(cni: CniNode) -> None:
    cni.bench.machine.rdma_is_exclusive = True
    made = cni.bench.machine.add_rdma(cni.bench.vfs[0], movable=False)
    before = cni.bench.machine.snapshot()
    answer = cni.client.call("ADD", cni.conf(ipam={"type": "static"}))
    assert (answer.code, made.name in answer.message) == (2, True), answer
    assert cni.bench.machine.snapshot() == before
    assert harness.ipam_calls(cni.plugins, "static") == ["ADD", "DEL"]


def test_f6_a_dead_owners_device_goes_to_the_next(cni: CniNode, device: kernel.RdmaDevice) -> None:
    assert cni.client.call("ADD", cni.conf()).code == 0
    memory_kernel.MemoryKernel(cni.bench.machine, cni.bench.pod.identity).rename_rdma(device.index, "mine0")
    cni.bench.machine.destroy("pod")
    with cni.bench.machine.namespace("second") as second:
        there = cni.bench.machine.path("second")
        assert cni.client.call("ADD", cni.conf(), CONTAINERID="c2", NETNS=there).code == 0
        assert place(cni) == "second"
        net = memory_kernel.MemoryKernel(cni.bench.machine, second.identity)
        assert net.rdma_devices() == (device,)


def test_c54_check_misses_it(cni: CniNode, device: kernel.RdmaDevice) -> None:
    network = cni.conf()
    network["prevResult"] = cni.client.call("ADD", network).document
    assert cni.client.call("CHECK", network).code == 0
    with cni.bench.node.kernel() as net, net.inside(cni.bench.pod) as inner:
        inner.move_rdma(device.index, cni.bench.machine.home)
    answer = cni.client.call("CHECK", network)
    assert (answer.code, f"RDMA device {device.name}" in answer.message) == (101, True), answer


@pytest.mark.usefixtures("device")
def test_f1_each_request_of_an_add_failing_in_turn(cni: CniNode) -> None:
    network = cni.conf(vlan=100, ipam={"type": "fixed"})
    assert cni.client.call("ADD", network).code == 0
    assert cni.client.call("DEL", network).code == 0
    before = cni.bench.machine.snapshot()
    for k in range(1, 100):
        cni.bench.machine.fail_at(k, errno.EIO)
        answer = cni.client.call("ADD", network)
        reached = len(cni.bench.machine.requests) >= k
        cni.bench.machine.fail_at(0)
        if answer.code == 0:
            if not reached:
                assert k > 10
                return
        else:
            assert (answer.code, "Input/output error" in answer.message) == (100, True), (k, answer)
            assert cni.bench.machine.snapshot() == before, k
            assert list(cni.bench.book.records()) == []
        assert cni.client.call("DEL", network).code == 0
        assert cni.bench.machine.snapshot() == before, k
