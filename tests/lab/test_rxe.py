"""RDMA devices of the real kernel: soft RoCE (rxe) on VFs, which no namespace but the host's can have.

Its driver has no disassociate_ucontext, so that the kernel refuses each move (drivers/infiniband/core/device.c,
ib_device_set_netns_put): that refusal, the mode, the listing and the names are what can be seen here.
"""

import contextlib
import pathlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from sriov import errors, settings
from sriov.attachment import attach, plans
from sriov.hardware import sysfs
from sriov.hardware.drivers import rdma_nodes
from sriov.linux import kernel, netlink
from sriov.state import ledger
from tests.kernel import namespaces
from tests.lab import igb
from tests.sriov import kernel_contract

VFS = (5, 6)


def rdma(*arguments: str) -> None:
    subprocess.run(["rdma", *arguments], check=True)


def set_mode(mode: str) -> None:
    """Refused while there is any namespace but the host's, and the kernel takes those apart in the background."""
    deadline = time.monotonic() + 20
    while subprocess.run(["rdma", "system", "set", "netns", mode], check=False, capture_output=True).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def soft_roce() -> Iterator[tuple[kernel.RdmaDevice, kernel.RdmaDevice]]:
    """Two devices, each of one namespace alone."""
    subprocess.run(["modprobe", "rdma_rxe"], check=True)
    set_mode("exclusive")
    for index in VFS:
        netdev = igb.TREE.netdev(igb.vf(index).pci)
        assert netdev is not None
        rdma("link", "add", f"rxe{index}", "type", "rxe", "netdev", netdev.name)
    try:
        with igb.opened() as net:
            first, second = net.rdma_devices()
        yield first, second
    finally:
        with igb.opened() as net:
            for device in net.rdma_devices():
                rdma("link", "delete", device.name)
        set_mode("shared")


class TestRdma(kernel_contract.RdmaContract):
    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path) -> Iterator[kernel_contract.RdmaBench]:
        with soft_roce() as devices, namespaces.made("pod") as pod, contextlib.closing(netlink.Netlink()) as net:
            self._pod = pod
            yield kernel_contract.RdmaBench(net, pod.handle, *devices)

    def test_nothing_of_a_namespace_is_held_afterwards(self, bench: kernel_contract.RdmaBench) -> None:
        before = namespaces.open_descriptors()
        with bench.net.inside(bench.pod) as inner:
            inner.rdma_devices()
        assert namespaces.open_descriptors() == before

    def share(self, bench: kernel_contract.RdmaBench) -> None:
        bench.pod.close()
        subprocess.run(["ip", "netns", "delete", self._pod.name], check=True)
        set_mode("shared")


def test_the_kernel_gives_the_lowest_number_that_is_free() -> None:
    """A moved device is removed and added by the kernel (rdma_dev_change_netns), and so are its device nodes."""
    classes = [igb.TREE.root / "class" / name for name in ("infiniband_verbs", "infiniband_mad")]
    with soft_roce() as (first, _):
        before = [sysfs.names(folder) for folder in classes]
        assert "uverbs0" in before[0]
        assert not rdma_nodes.has_gap(igb.TREE)
        rdma("link", "delete", first.name)
        assert [rdma_nodes.lower_free(igb.TREE, names) for names in (("uverbs1",), ("umad1", "issm1"))] == [
            "uverbs0",
            "umad0",
        ]
        netdev = igb.TREE.netdev(igb.vf(VFS[0]).pci)
        assert netdev is not None
        rdma("link", "add", first.name, "type", "rxe", "netdev", netdev.name)
        assert [sysfs.names(folder) for folder in classes] == before
        assert not rdma_nodes.has_gap(igb.TREE)


def test_a_refused_move_is_one_clear_error_and_the_add_is_undone(tmp_path: pathlib.Path) -> None:
    """Of the other VF's device: rxe gives up its own when the netdev leaves the host (rxe_net.c, NETDEV_UNREGISTER)."""
    with (
        soft_roce() as (_, device),
        igb.borrowed(VFS[0]) as netdev,
        namespaces.made("pod") as pod,
        igb.host(tmp_path) as (here, book),
        igb.opened() as net,
    ):
        owner = ledger.Owner(container_id="c1", ifname="net1", network="n1", netns=pod.path)
        vf = here.lookup(igb.vf(VFS[0]).pci)
        wanted = settings.VfSettings(vlan=100, mac="02:00:00:00:cc:09")
        request = plans.Request(vf, owner, wanted, rdma=(device,))
        with pytest.raises(errors.UnsupportedError, match=rf"{device.name} cannot move .*Operation not supported"):
            attach.attach(here, book, request, pod.handle)
        assert igb.TREE.netdev(vf.pci) == netdev
        assert list(book.records()) == []
        assert device in net.rdma_devices()
        assert net.vf(igb.pf_index(), VFS[0]).vlan == 0
