"""PFs and VFs as sysfs shows them, on built trees."""

import pathlib

import pytest

from sriov import devices, errors
from sriov.hardware import inventory, sysfs
from tests.fakes import sysfs_tree

PF0 = sysfs.Netdev("enp1s0", 2, "52:54:00:00:00:01", 1500)
PF1 = sysfs.Netdev("enp2s0", 3, "52:54:00:00:00:02", 1500)
VF = sysfs.Netdev("enp1s0v0", 10, "02:00:00:00:00:10", 1500)


@pytest.fixture
def node(tmp_path: pathlib.Path) -> sysfs_tree.SysfsTree:
    built = sysfs_tree.SysfsTree(tmp_path)
    built.add_pf("0000:01:00.0", PF0, numvfs=7)
    built.add_pf("0000:02:00.0", PF1, numvfs=2)
    built.add_plain_nic("0000:03:00.0", None)
    built.set_netdev(devices.pci_address("0000:01:10.0"), VF)
    return built


def test_scan_finds_every_pf_and_vf(node: sysfs_tree.SysfsTree) -> None:
    found = inventory.scan(node.tree)
    assert list(found.pfs) == ["0000:01:00.0", "0000:02:00.0"]
    assert list(found.vfs)[:3] == ["0000:01:10.0", "0000:01:10.2", "0000:01:10.4"]
    assert len(found.vfs) == 9
    pf = found.pfs[devices.pci_address("0000:01:00.0")]
    assert (pf.netdev, pf.driver, pf.numvfs, pf.totalvfs) == ("enp1s0", "igb", 7, 7)


def test_scan_reads_the_facts_of_a_vf(node: sysfs_tree.SysfsTree) -> None:
    node.set_attribute(devices.pci_address("0000:01:10.0"), "numa_node", 1)
    vf = inventory.scan(node.tree).vfs[devices.pci_address("0000:01:10.0")]
    assert vf == devices.VF(
        pci=devices.pci_address("0000:01:10.0"),
        pf=devices.pci_address("0000:01:00.0"),
        pf_netdev="enp1s0",
        index=0,
        vendor="8086",
        device="10ca",
        driver="igbvf",
        netdev="enp1s0v0",
        numa_node=1,
        link_type=devices.LinkType.ETHER,
    )


@pytest.mark.parametrize("model", [sysfs_tree.IGB, sysfs_tree.LARGE])
def test_lookup_agrees_with_scan_for_every_vf(tmp_path: pathlib.Path, model: sysfs_tree.Model) -> None:
    built = sysfs_tree.SysfsTree(tmp_path)
    built.add_pf("0000:01:00.0", PF0, model, numvfs=model.totalvfs)
    found = inventory.scan(built.tree).vfs
    assert len(found) == model.totalvfs
    assert all(inventory.lookup(built.tree, address) == vf for address, vf in found.items())


def test_lookup_reads_only_one_virtfn(node: sysfs_tree.SysfsTree) -> None:
    """A neighbour's link that leads nowhere would show in any scan."""
    pf = node.tree.pci(devices.pci_address("0000:01:00.0"))
    (pf / "virtfn99").symlink_to("../not-a-pci-address")
    assert inventory.lookup(node.tree, devices.pci_address("0000:01:11.4")).index == 6
    with pytest.raises(errors.DeviceError):
        inventory.scan(node.tree)


def test_lookup_without_offset_and_stride(node: sysfs_tree.SysfsTree) -> None:
    """Kernels before 4.13 have no sriov_offset and sriov_stride."""
    pf = node.tree.pci(devices.pci_address("0000:01:00.0"))
    (pf / "sriov_offset").unlink()
    (pf / "sriov_stride").unlink()
    assert inventory.lookup(node.tree, devices.pci_address("0000:01:10.4")).index == 2


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("0000:01:00.0", "is a PF"),
        ("0000:03:00.0", "is not an SR-IOV VF"),
        ("0000:99:00.0", "there is no PCI device 0000:99:00.0"),
    ],
)
def test_lookup_refuses_what_is_no_vf(node: sysfs_tree.SysfsTree, address: str, message: str) -> None:
    with pytest.raises(errors.DeviceError, match=message) as caught:
        inventory.lookup(node.tree, devices.pci_address(address))
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text", ["", "01:10.0", "0000:01:10.8", "0000:01:10.0\n", "../../etc", "0000:0A:10.0", 7, None]
)
def test_a_malformed_address_never_reaches_a_path(text: object) -> None:
    with pytest.raises(errors.DeviceError, match="is not a PCI address"):
        devices.pci_address(text)


def test_the_uplink_is_told_from_its_representors(node: sysfs_tree.SysfsTree) -> None:
    pf = devices.pci_address("0000:01:00.0")
    node.set_netdev(pf, PF0, sysfs.Netdev("enp1s0r0", 20, "02:00:00:00:00:20", 1500))
    node.set_attribute(pf, "net/enp1s0r0/phys_port_name", "pf0vf0")
    node.set_attribute(pf, "net/enp1s0/phys_port_name", "p0")
    assert inventory.scan(node.tree).pfs[pf].netdev == "enp1s0"


def test_a_vf_in_another_namespace_keeps_its_driver_and_its_pfs_link_type(node: sysfs_tree.SysfsTree) -> None:
    vf = inventory.lookup(node.tree, devices.pci_address("0000:01:10.2"))
    assert (vf.netdev, vf.driver, vf.link_type) == (None, "igbvf", devices.LinkType.ETHER)
