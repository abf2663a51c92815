"""Looking again and again: what is remembered is what cannot change."""

import pathlib

import pytest

from sriov import devices, errors
from sriov.hardware import discovery, node_devices, sysfs
from tests.fakes import procfs, sysfs_tree

PF = sysfs.Netdev("enp1s0", 2, "52:54:00:00:00:01", 1500)
VF = devices.pci_address("0000:01:10.0")


class Bench:
    def __init__(self, root: pathlib.Path) -> None:
        self.sys = sysfs_tree.SysfsTree(root / "sys")
        self.pf = self.sys.add_pf("0000:01:00.0", PF, numvfs=2)
        self.proc = procfs.Procfs(root / "proc")
        self.memory: discovery.Memory = {}

    def look(self) -> dict[str, node_devices.Candidate]:
        return dict(
            discovery.scan(self.sys.tree, self.proc.root, pathlib.Path("/proc/nowhere"), self.memory).candidates
        )


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Bench:
    return Bench(tmp_path)


def test_what_changes_is_read_again(bench: Bench) -> None:
    first = bench.look()
    assert bench.look() == first
    bench.sys.set_driver(VF, "vfio-pci")
    bench.sys.set_netdev(bench.pf, sysfs.Netdev("renamed", 2, PF.address, 1500))
    bench.sys.set_numvfs(bench.pf, 1)
    bench.sys.set_driver(VF, "vfio-pci")
    second = bench.look()
    assert list(second) == [bench.pf, VF]
    assert (second[VF].driver, second[VF].pf_netdev, second[bench.pf].numvfs) == ("vfio-pci", "renamed", 1)


@pytest.mark.parametrize("late", ["class", "vendor", "device"])
def test_a_device_that_is_being_made_is_not_remembered_half(bench: Bench, late: str) -> None:
    whole = (bench.sys.tree.pci(VF) / late).read_text()
    (bench.sys.tree.pci(VF) / late).unlink()
    bench.look()
    bench.sys.set_attribute(VF, late, whole.strip())
    assert bench.look()[VF] == discovery.scan(bench.sys.tree, bench.proc.root, pathlib.Path("/dev")).candidates[VF]


def test_vfs_that_the_kernel_is_about_to_remove_are_going(bench: Bench) -> None:
    """By their index, and the links of each before the VF itself (drivers/pci/iov.c, pci_iov_remove_virtfn)."""
    other = bench.sys.set_numvfs(bench.pf, 3)[2]
    before = bench.look()
    assert not any(each.going for each in before.values())
    (bench.sys.tree.pci(bench.pf) / "virtfn0").unlink()
    assert [bench.look()[each].going for each in (bench.pf, VF, other)] == [False, True, True]
    (bench.sys.tree.pci(VF) / "physfn").unlink()
    found = bench.look()
    assert (found[VF].role, found[VF].going) == (node_devices.Role.NIC, True)
    assert found[bench.pf].numvfs == 2
    going = "is about to go: its PF is losing its VFs"
    assert [discovery.difference(bench.sys.tree, before[each]) for each in (bench.pf, VF, other)] == [
        None,
        going,
        going,
    ]


def test_in_what_a_device_has_changed(bench: Bench) -> None:
    plain = bench.sys.add_pf("0000:07:00.0", None)
    found = bench.look()
    assert [discovery.difference(bench.sys.tree, each) for each in found.values()] == [None] * len(found)
    bench.sys.set_driver(VF, "vfio-pci")
    bench.sys.set_numvfs(plain, 1)
    told = {each: discovery.difference(bench.sys.tree, found[each]) for each in (VF, plain)}
    assert told == {VF: "has vfio-pci in the place of igbvf", plain: "has VFs now"}
    bench.sys.set_driver(VF, None)
    assert discovery.difference(bench.sys.tree, found[VF]) == "has no driver in the place of igbvf"
    bench.sys.set_numvfs(bench.pf, 0)
    assert discovery.difference(bench.sys.tree, found[VF]) == "is gone"


def test_a_vf_that_is_not_yet_linked_to_its_pf(bench: Bench) -> None:
    """The kernel makes physfn after the device is on the bus (drivers/pci/iov.c)."""
    link = bench.sys.tree.pci(VF) / "physfn"
    target = link.readlink()
    link.unlink()
    assert bench.look()[VF].pf is None
    link.symlink_to(target)
    assert (bench.look()[VF].role, bench.look()[VF].pf) == (node_devices.Role.VF, bench.pf)


def test_a_device_that_is_gone_is_forgotten(bench: Bench) -> None:
    bench.look()
    bench.sys.set_numvfs(bench.pf, 0)
    bench.look()
    assert list(bench.memory) == [bench.pf]


def test_no_list_of_devices_is_not_an_empty_one(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.DeviceError, match=r"is sysfs mounted there\? name it with --sysfs"):
        discovery.scan(sysfs.Tree(tmp_path), tmp_path, tmp_path)
