"""PFs with more than one netdev: an ADD that could never work says so, and one that does asks nothing twice."""

import pytest

from sriov import devices
from sriov.hardware import sysfs
from sriov_cni.monitoring import attached_vfs
from sriov_cni.spec import cni_errors
from tests.sriov_cni.conftest import CniNode


def beside(cni: CniNode, netdev: str, port: str | None = None, of: str = "0000:01:00.0") -> None:
    """Another netdev below the device, as its driver brings it."""
    pci = devices.pci_address(of)
    tree = cni.bench.machine.node
    own = tree.tree.netdev(pci)
    ports = {} if port is None else {netdev: port}  # there from the start, as in a kernel: the daemon may be looking
    tree.set_netdev(pci, own, sysfs.Netdev(netdev, 90, "02:00:00:00:00:90", 1500), ports=ports)


@pytest.mark.parametrize("driver", ["igbvf", "vfio-pci"])
def test_two_ports_on_one_function_are_a_permanent_error_that_names_them(cni: CniNode, driver: str) -> None:
    beside(cni, "enp1s0d1")
    cni.bench.machine.node.set_driver(cni.bench.vfs[0], driver)
    answer = cni.client.call("ADD", cni.conf(vlan=100))
    assert answer.code == cni_errors.Code.INVALID_CONFIG
    assert "0000:01:00.0 has several netdevs" in answer.message
    assert "enp1s0, enp1s0d1" in answer.message
    assert list(cni.bench.book.records()) == []


def test_a_vf_with_two_netdevs_is_a_permanent_error_that_names_them(cni: CniNode) -> None:
    """ConnectX-3's VF of both ports: it is not half given."""
    beside(cni, "vfd1", of=cni.vf)
    answer = cni.client.call("ADD", cni.conf())
    assert answer.code == cni_errors.Code.INVALID_CONFIG
    assert f"{cni.vf} has several netdevs" in answer.message
    assert "vfd1" in answer.message


def test_a_pf_that_has_no_netdev_yet_is_asked_for_again(cni: CniNode) -> None:
    cni.bench.machine.node.set_netdev(devices.pci_address("0000:01:00.0"), None)
    assert cni.client.call("ADD", cni.conf()).code == cni_errors.Code.TRY_AGAIN


def test_representors_are_not_looked_at_twice(cni: CniNode) -> None:
    """Neither by pods nor by the look at their counters: whoever read again would take the PF for undecided."""
    beside(cni, "rep0", "pf0vf0")
    assert cni.client.call("ADD", cni.conf()).code == 0
    cni.bench.machine.node.set_attribute(devices.pci_address("0000:01:00.0"), "net/rep0/phys_port_name", "p9")
    other = cni.conf() | {"deviceID": cni.bench.vfs[1]}
    assert cni.client.call("ADD", other, IFNAME="net2").code == 0
    watcher = attached_vfs.Watcher(cni.bench.node, cni.bench.book, lambda _: None)
    assert {each.pf for each in watcher.look().holdings} == {"enp1s0"}
    assert cni.client.call("DEL", other, IFNAME="net2").code == 0
