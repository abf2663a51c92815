"""The kernel in memory keeps the contract that the real one keeps (tests/kernel, tests/lab)."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

import msgspec
import pytest

from sriov import settings
from tests.fakes import drivers, memory_kernel, world
from tests.sriov import kernel_contract, netdevsim_contract


class TestLinks(kernel_contract.LinkContract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path) -> Iterator[kernel_contract.Bench]:
        machine = world.World(tmp_path)
        pod = machine.namespace("pod")
        for namespace in (machine.home, pod):
            machine.add_link("lo", namespace)
        index = machine.add_link("veth0", machine.home)
        net = memory_kernel.MemoryKernel(machine, machine.home.identity)

        def add_altname(name: str) -> None:
            device = machine.find(machine.home.identity, index)
            assert device
            device.link = msgspec.structs.replace(device.link, altnames=(name,))

        yield kernel_contract.Bench(net, machine.home, pod, net.link(index), add_altname)
        pod.close()
        machine.close()


class TestRdma(kernel_contract.RdmaContract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path) -> Iterator[kernel_contract.RdmaBench]:
        self._machine = machine = world.World(tmp_path)
        vfs = machine.add_pf("0000:01:00.0", "enp1s0")
        machine.rdma_is_exclusive = True
        made = [machine.add_rdma(vf, movable=False) for vf in vfs[:2]]
        net = memory_kernel.MemoryKernel(machine, machine.home.identity)
        with machine.namespace("pod") as pod:
            yield kernel_contract.RdmaBench(net, pod, *made)
        machine.close()

    def share(self, bench: kernel_contract.RdmaBench) -> None:
        self._machine.rdma_is_exclusive = False


class TestIgb(kernel_contract.IgbContract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path) -> Iterator[kernel_contract.NetdevBench]:
        machine = world.World(tmp_path)
        machine.add_pf("0000:01:00.0", "enp1s0")
        net = memory_kernel.MemoryKernel(machine, machine.home.identity)
        yield kernel_contract.NetdevBench(net, net.link("enp1s0").index, 0, net.link("enp1s0v0"))
        machine.close()


class TestNetdevsim(netdevsim_contract.NetdevsimContract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path) -> Iterator[kernel_contract.VfBench]:
        with many(tmp_path, 4) as made:
            yield dataclasses.replace(made, vf=1)


class TestMany(netdevsim_contract.ManyContract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[kernel_contract.VfBench]:
        with many(tmp_path, request.param) as made:
            yield made


@contextlib.contextmanager
def many(folder: pathlib.Path, vfs: int) -> Iterator[kernel_contract.VfBench]:
    """A PF as netdevsim makes it: VFs without netdevs."""
    machine = world.World(folder)
    machine.add_pf("0000:01:00.0", "eth0", drivers.NETDEVSIM, vfs=0)
    net = memory_kernel.MemoryKernel(machine, machine.home.identity)
    index = net.link("eth0").index
    table = machine.pf(index)
    assert table is not None
    table.vfs = [table.profile.fresh] * vfs
    table.heard = [settings.NO_MAC] * vfs
    yield kernel_contract.VfBench(net, index, vfs - 1)
    machine.close()
