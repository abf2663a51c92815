"""A PCI device's properties in sysfs, on a sysfs that the test has built."""

import pathlib

import pytest

from sriov import errors
from sriov.hardware import pci, sysfs
from tests.fakes import sysfs_tree

PF = "0000:01:00.0"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    node = sysfs_tree.SysfsTree(tmp_path)
    pf = node.add_pf(PF, sysfs.Netdev("pf0", 7, "02:00:00:00:00:01", 1500), numvfs=3)
    return sysfs.Tree(tmp_path).pci(pf)


@pytest.mark.parametrize(("shown", "node"), [("1", 1), ("0", 0), ("-1", None), ("", None)])
def test_a_numa_node_is_a_number_or_none(tmp_path: pathlib.Path, shown: str, node: int | None) -> None:
    (tmp_path / "numa_node").write_text(f"{shown}\n")
    assert pci.numa_node(tmp_path) == node


def test_a_device_that_is_gone_has_no_numa_node_and_no_bridges(tmp_path: pathlib.Path) -> None:
    assert pci.numa_node(tmp_path / "gone") is None
    assert pci.bridges(tmp_path / "gone") == ()
    assert pci.vfs(tmp_path / "gone") == {}


def test_bridges_are_the_way_from_the_root(tmp_path: pathlib.Path) -> None:
    (tmp_path / "dev").symlink_to("../../../devices/pci0000:00/0000:00:02.0/0000:01:10.0")
    assert pci.bridges(tmp_path / "dev") == ("pci0000:00", "0000:00:02.0")


def test_vfs_are_known_by_their_index(folder: pathlib.Path) -> None:
    found = pci.vfs(folder)
    assert sorted(found) == [0, 1, 2]
    assert found == {index: pci.vf(folder, index) for index in range(3)}
    assert pci.vf(folder, 3) is None


def test_a_vf_link_that_leads_to_no_pci_address_is_refused(folder: pathlib.Path) -> None:
    (folder / "virtfn9").symlink_to("../not-a-pci-address")
    with pytest.raises(errors.DeviceError, match="is not a PCI address"):
        pci.vfs(folder)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (("a", "b", "c"), ("a", "b", "d"), ("a", "b")),
        (("a", "b"), ("a", "b", "c"), ("a", "b")),
        (("a", "b"), ("x", "b"), ()),
        ((), ("a",), ()),
    ],
)
def test_ways_share_what_comes_before_they_part(
    one: tuple[str, ...], other: tuple[str, ...], shared: tuple[str, ...]
) -> None:
    assert pci.shared(one, other) == pci.shared(other, one) == shared
