"""NICs that the host needs itself are offered to nobody, however it uses them."""

import pathlib

import pytest

from sriov import devices
from sriov.hardware import host_networking, sysfs
from tests.sriov.pools import facts

NIC = "0000:00:03.0"
ETH0 = sysfs.Netdev("eth0", 2, "52:54:00:00:00:05", 1500)
TAKES_ALL = {"resourceName": "all", "selectors": {"vendors": ["8086"]}}


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> facts.Machine:
    built = facts.Machine(tmp_path)
    built.sys.add_plain_nic(NIC, None)
    return built


@pytest.mark.parametrize("carries", ["virtio2", "vdpa0/virtio2", "mlx5_core.vnet.2/vdpa0/virtio2"])
def test_a_virtio_nics_netdev_is_on_the_device_that_it_carries(machine: facts.Machine, carries: str) -> None:
    machine.sys.set_virtio(devices.pci_address(NIC), carries, ETH0)
    [one] = machine.catalog().candidates.values()
    assert (one.netdevs, one.link_type, one.host_use) == (("eth0",), devices.LinkType.ETHER, None)
    assert machine.deal(TAKES_ALL) == {"all": [NIC]}
    machine.proc.route("eth0", "0.0.0.0/0")
    [one] = machine.catalog().candidates.values()
    assert one.host_use is not None
    assert one.host_use.use is host_networking.Use.DEFAULT_ROUTE
    assert machine.deal(TAKES_ALL) == {"all": []}


def test_what_a_nic_carries_counts_beside_its_own_netdev(machine: facts.Machine) -> None:
    """mlx5's VF with a vDPA device that the host uses, beside its own netdev."""
    machine.sys.set_virtio(devices.pci_address(NIC), "vdpa0/virtio2", ETH0)
    machine.sys.set_netdev(devices.pci_address(NIC), sysfs.Netdev("own", 3, "52:54:00:00:00:06", 1500))
    machine.proc.route("eth0", "0.0.0.0/0")
    [one] = machine.catalog().candidates.values()
    assert one.netdevs == ("own",)
    assert machine.deal(TAKES_ALL) == {"all": []}
