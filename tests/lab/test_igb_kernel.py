"""The guest's kernel keeps the contracts that the kernel in memory keeps: links with a VF, and igb with igbvf."""

import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from sriov.linux import kernel, netns
from tests.kernel import namespaces
from tests.lab import igb
from tests.sriov import kernel_contract


class TestLinks(kernel_contract.LinkContract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path) -> Iterator[kernel_contract.Bench]:
        with igb.borrowed(5) as netdev, namespaces.made("pod") as pod, netns.own() as home, igb.opened() as net:
            net.set_link("lo", kernel.Change(up=True))

            def add_altname(name: str) -> None:
                subprocess.run(["ip", "link", "property", "add", "dev", netdev.name, "altname", name], check=True)

            yield kernel_contract.Bench(net, home, pod.handle, net.link(netdev.index), add_altname)


class TestIgb(kernel_contract.IgbContract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path) -> Iterator[kernel_contract.NetdevBench]:
        with igb.borrowed(6) as netdev, igb.opened() as net:
            yield kernel_contract.NetdevBench(net, igb.pf_index(), 6, net.link(netdev.index))
