"""Inside a virtual machine: the VF is there and its PF is not."""

import dataclasses

import pytest

from sriov import devices
from sriov.hardware import inventory, sysfs
from tests.fakes import bench, sysfs_tree
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode


@pytest.fixture
def guest(cni: CniNode) -> tuple[CniNode, devices.PciAddress]:
    return cni, cni.bench.machine.add_vf_without_pf("0000:00:05.0", "ens5")


def test_it_is_attached_and_comes_back(guest: tuple[CniNode, devices.PciAddress]) -> None:
    cni, vf = guest
    before = cni.bench.machine.snapshot()
    network = harness.configuration(vf, mac=bench.MAC, mtu=1400, ipam={"type": "fixed"})
    document = cni.client.call("ADD", network).document
    interface = {"name": "net1", "mac": bench.MAC, "mtu": 1400, "sandbox": cni.client.netns, "pciID": vf}
    assert document["interfaces"] == [interface]
    assert cni.client.call("CHECK", {**network, "prevResult": document}).code == 0
    assert cni.client.call("DEL", network).code == 0
    assert cni.bench.machine.snapshot() == before


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"vlan": 100}, "vlan 100 with vlanQoS 0 and vlanProto 802.1q needs the VF's PF"),
        ({"trust": "on"}, "trust on needs the VF's PF"),
        ({"trust": "off"}, "trust off needs the VF's PF"),
        ({"spoofchk": "off"}, "spoofchk off needs the VF's PF"),
        ({"spoofchk": "on"}, "spoofchk on needs the VF's PF"),
        ({"link_state": "enable"}, "link_state enable needs the VF's PF"),
        ({"max_tx_rate": 10}, "min_tx_rate 0 with max_tx_rate 10 needs the VF's PF"),
    ],
)
def test_a_key_that_needs_the_pf_is_named(
    guest: tuple[CniNode, devices.PciAddress], keys: dict[str, object], says: str
) -> None:
    cni, vf = guest
    before = cni.bench.machine.snapshot()
    answer = cni.client.call("ADD", harness.configuration(vf, **keys))
    assert (answer.code, says in answer.message) == (2, True), answer
    assert cni.bench.machine.snapshot() == before
    assert list(cni.bench.book.records()) == []


def test_with_a_userspace_driver_not_even_a_mac_can_be_set(guest: tuple[CniNode, devices.PciAddress]) -> None:
    cni, vf = guest
    cni.bench.machine.node.set_attribute(vf, "vendor", "0x15b3")
    cni.bench.machine.node.set_attribute(vf, "device", "0x1018")
    cni.bench.machine.node.set_driver(vf, "vfio-pci")
    cni.bench.machine.node.set_netdev(vf)
    assert cni.client.call("ADD", harness.configuration(vf, mac=bench.MAC)).code == 2
    assert cni.client.call("ADD", harness.configuration(vf)).code == 0
    assert cni.client.call("DEL", harness.configuration(vf)).code == 0
    assert list(cni.bench.book.records()) == []


def test_f51_a_plain_nic_is_not_taken_for_one(cni: CniNode) -> None:
    node = cni.bench.machine.node
    plain = node.add_plain_nic("0000:00:03.0", sysfs.Netdev("ens3", 99, "02:00:00:98:00:01", 1500))
    answer = cni.client.call("ADD", harness.configuration(plain))
    assert (answer.code, "is not an SR-IOV VF" in answer.message) == (7, True)


@pytest.mark.parametrize("device", ["1018", "101e"])
def test_a_vf_of_a_driver_that_knows_both_is_known_by_its_ids(cni: CniNode, device: str) -> None:
    model = dataclasses.replace(sysfs_tree.LARGE, pf_device=device)
    vf = cni.bench.machine.node.add_plain_nic("0000:00:06.0", None, model)
    assert inventory.lookup(cni.bench.node.tree, vf).pf is None
