"""A VF's own address is the one it was first seen with; its name and MTU are what they are."""

import pathlib

import pytest

from sriov import devices
from sriov.hardware import sysfs
from sriov.state import vf_identity
from tests.fakes import sysfs_tree

PF = devices.pci_address("0000:01:00.0")
VF = devices.pci_address("0000:01:10.0")
NETDEV = sysfs.Netdev("enp1s0v0", 3, "02:00:00:00:00:01", 1500)
HOME = vf_identity.VfIdentity(name="enp1s0v0", address="02:00:00:00:00:01", mtu=1500)


@pytest.fixture
def book(tmp_path: pathlib.Path) -> vf_identity.VfIdentities:
    made = vf_identity.VfIdentities(tmp_path / "homes")
    made.create()
    return made


def test_the_first_address_is_its_own(book: vf_identity.VfIdentities, hardware: sysfs_tree.SysfsTree) -> None:
    assert book.settle(hardware.tree, VF, NETDEV, dict) == HOME
    later = sysfs.Netdev("eth7", 9, "02:00:00:00:dd:01", 9000)
    assert book.settle(hardware.tree, VF, later, dict) == vf_identity.VfIdentity(
        name="eth7", address=HOME.address, mtu=9000
    )
    assert book.last(VF) == vf_identity.VfIdentity(name="eth7", address=HOME.address, mtu=9000)


def test_what_is_known_already_is_not_written_again(
    book: vf_identity.VfIdentities, hardware: sysfs_tree.SysfsTree, tmp_path: pathlib.Path
) -> None:
    book.settle(hardware.tree, VF, NETDEV, dict)
    before = (tmp_path / f"homes/{VF}.json").stat()
    book.settle(hardware.tree, VF, NETDEV, dict)
    assert (tmp_path / f"homes/{VF}.json").stat().st_ino == before.st_ino


def test_another_device_at_the_same_address_is_seen_for_the_first_time(
    book: vf_identity.VfIdentities, hardware: sysfs_tree.SysfsTree
) -> None:
    book.settle(hardware.tree, VF, NETDEV, dict)
    before = hardware.tree.birth(VF)
    folder = hardware.tree.pci(VF).resolve()
    folder.rename(folder.with_name("former"))  # so that its inode is not given to the next
    folder.mkdir()
    assert hardware.tree.birth(VF) not in (0, before)
    made_again = sysfs.Netdev("enp1s0v0", 3, "02:00:00:00:00:02", 1500)
    assert book.settle(hardware.tree, VF, made_again, dict).address == "02:00:00:00:00:02"


def test_a_damaged_file_is_as_none(
    book: vf_identity.VfIdentities, hardware: sysfs_tree.SysfsTree, tmp_path: pathlib.Path
) -> None:
    (tmp_path / f"homes/{VF}.json").write_text('{"device":')
    assert book.last(VF).name == "vf000001100"
    assert book.settle(hardware.tree, VF, NETDEV, dict) == HOME == book.last(VF)


def test_an_address_that_nobody_has_chosen_is_another_each_time(book: vf_identity.VfIdentities) -> None:
    invented = {book.last(VF).address for _ in range(50)}
    assert len(invented) == 50
    assert {int(address[:2], 16) & 3 for address in invented} == {2}


def test_a_vf_that_is_forgotten_is_seen_for_the_first_time_again(
    book: vf_identity.VfIdentities, hardware: sysfs_tree.SysfsTree
) -> None:
    book.settle(hardware.tree, VF, NETDEV, dict)
    book.forget(VF)
    book.forget(VF)
    later = sysfs.Netdev("enp1s0v0", 3, "02:00:00:00:dd:01", 1500)
    assert book.settle(hardware.tree, VF, later, dict).address == later.address
