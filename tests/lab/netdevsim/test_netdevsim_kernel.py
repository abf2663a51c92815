"""The kernel's simulator keeps the contracts that the kernel in memory keeps: VF settings over real netlink."""

import contextlib
import pathlib
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from sriov.linux import netlink, netns
from tests.examples import table
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


def test_what_the_page_runs() -> None:
    """docs/lab.md has it for a guest with `--netdevsim`; this is one, or a machine that has the simulator."""
    [example] = table.run_by(__file__, "test_what_the_page_runs")
    before = {path.name for path in (netdevsim.BUS / "devices").iterdir()}
    assert "netdevsim1" not in before
    try:
        command = shlex.split(example.command.partition(" -- ")[2])
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        [folder] = (netdevsim.BUS / "devices/netdevsim1/net").iterdir()
        assert f" {folder.name}: <" in told
    finally:
        (netdevsim.BUS / "del_device").write_text("1")
