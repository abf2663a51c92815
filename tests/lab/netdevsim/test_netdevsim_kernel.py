"""The kernel's simulator keeps the contracts that the kernel in memory keeps: VF settings over real netlink."""

import contextlib
import pathlib
from collections.abc import Iterator

import pytest

from sriov import netlink, netns
from tests.fakes import netdevsim
from tests.kernel import namespaces
from tests.sriov import kernel_contract, netdevsim_contract


@contextlib.contextmanager
def bench(vfs: int, vf: int) -> Iterator[kernel_contract.VfBench]:
    """A card in a namespace of its own: nothing on this machine gets to see it."""
    with namespaces.made("card") as home, netdevsim.inserted(home.handle, vfs) as card:
        with netns.entered(home.handle):
            net = netlink.Netlink()
        with contextlib.closing(net):
            yield kernel_contract.VfBench(net, card.pf.index, vf)


class TestNetdevsim(netdevsim_contract.NetdevsimContract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path) -> Iterator[kernel_contract.VfBench]:
        with bench(vfs=4, vf=1) as made:
            yield made


class TestMany(netdevsim_contract.ManyContract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[kernel_contract.VfBench]:
        with bench(vfs=request.param, vf=request.param - 1) as made:
            yield made
