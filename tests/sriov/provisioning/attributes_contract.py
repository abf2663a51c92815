"""Contract of sysfs attributes that are written. The fake and the guest's kernel with igb run the same tests.

`Bench` is a PF without VFs, with 7 at most, in a tree that follows.
"""

import abc
import dataclasses
import errno
import pathlib
from collections.abc import Iterator

import pytest

from sriov import devices, errors
from sriov.hardware import sysfs
from sriov.linux import sysfs_writes
from sriov.provisioning import observe


@dataclasses.dataclass(frozen=True, slots=True)
class Bench:
    writes: sysfs_writes.Attributes
    tree: sysfs.Tree
    pf: devices.PciAddress

    def set(self, name: str, value: object) -> None:
        self.writes.write(f"bus/pci/devices/{self.pf}/{name}", str(value))

    def vf(self, index: int = 0) -> devices.PciAddress:
        return devices.pci_address(sysfs.target(self.tree.pci(self.pf) / f"virtfn{index}"))

    def override(self, driver: str) -> None:
        self.writes.write(f"bus/pci/devices/{self.vf()}/driver_override", driver)

    def probe(self) -> str | None:
        self.writes.write("bus/pci/drivers_probe", self.vf())
        return self.driver()

    def unbind(self) -> None:
        self.writes.write(f"bus/pci/devices/{self.vf()}/driver/unbind", self.vf())

    def driver(self) -> str | None:
        return sysfs.target(self.tree.pci(self.vf()) / "driver")


class Contract(abc.ABC):
    """igb, igbvf and vfio-pci."""

    @pytest.fixture
    @abc.abstractmethod
    def bench(self, tmp_path: pathlib.Path) -> Iterator[Bench]:
        """A fresh bench."""

    def test_vfs_come_and_go_but_do_not_become_more(self, bench: Bench) -> None:
        bench.set("sriov_numvfs", 2)
        assert bench.driver() == "igbvf"
        bench.set("sriov_numvfs", 2)
        for count in (1, 3):
            with pytest.raises(errors.KernelError) as caught:
                bench.set("sriov_numvfs", count)
            assert caught.value.errno == errno.EBUSY
        bench.set("sriov_numvfs", 0)
        assert not (bench.tree.pci(bench.pf) / "virtfn0").exists()
        bench.set("sriov_numvfs", 0)

    def test_more_vfs_than_the_card_has(self, bench: Bench) -> None:
        with pytest.raises(errors.KernelError, match="sriov_numvfs") as caught:
            bench.set("sriov_numvfs", 8)
        assert caught.value.errno == errno.ERANGE

    def test_without_autoprobe_a_vf_is_bound_by_override_alone(self, bench: Bench) -> None:
        bench.set("sriov_drivers_autoprobe", 0)
        bench.set("sriov_numvfs", 1)
        assert bench.driver() is None
        assert bench.probe() is None
        bench.override("vfio-pci")
        assert bench.probe() == "vfio-pci"
        bench.set("sriov_drivers_autoprobe", 1)
        bench.override("")
        assert observe.override(bench.tree, bench.vf()) is None
        assert bench.probe() == "vfio-pci"
        bench.unbind()
        assert bench.probe() == "igbvf"

    def test_an_override_by_a_driver_that_is_not_loaded(self, bench: Bench) -> None:
        bench.set("sriov_numvfs", 1)
        bench.override("nosuch")
        assert observe.override(bench.tree, bench.vf()) == "nosuch"
        bench.unbind()
        assert bench.probe() is None
        with pytest.raises(errors.KernelError) as caught:
            bench.unbind()
        assert caught.value.errno == errno.ENOENT
