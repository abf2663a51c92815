"""The files that go with devices: device-info and CDI specs, and that none of them can fail a pod."""

import json
import os
import pathlib

import pytest

from deviceplugin import allocation, device_files
from sriov.hardware import node_devices
from sriov.pools import assignment, cdi
from tests.sriov.pools import facts

ONE = facts.vf(0, driver="vfio-pci", iommu=node_devices.IommuGroup("7"), vfio=node_devices.Vfio())
TWO = facts.vf(1, driver="vfio-pci", iommu=node_devices.IommuGroup("8"), vfio=node_devices.Vfio())
POOL = assignment.Pool(facts.SETTINGS, (assignment.Device(ONE.id, ONE), assignment.Device(TWO.id, TWO)))
SPEC = "sriov-dp-intel.com-net-pci-a.json"


def giver(root: pathlib.Path, delivery: cdi.Delivery = cdi.Delivery.FIELD) -> device_files.Handout:
    return device_files.Handout(device_files.FilePlaces(root / "devinfo/dp", root / "cdi", delivery))


def listed(root: pathlib.Path) -> list[str]:
    return [device["name"] for device in json.loads((root / "cdi" / SPEC).read_text())["devices"]]


def test_d38_the_spec_is_there_before_allocate_returns(tmp_path: pathlib.Path) -> None:
    (answer,) = giver(tmp_path).allocate(POOL, [[ONE.id]])
    assert answer.cdi_devices == (f"intel.com/net-pci={ONE.id}",)
    assert answer.nodes == ()
    assert listed(tmp_path) == [ONE.id, TWO.id]
    assert os.listdir(tmp_path / "cdi") == [SPEC]


def test_d38_the_spec_follows_the_pool_and_goes_with_it(tmp_path: pathlib.Path) -> None:
    given = giver(tmp_path)
    given.announce(POOL)
    written = (tmp_path / "cdi" / SPEC).stat().st_ino
    given.announce(POOL)
    assert (tmp_path / "cdi" / SPEC).stat().st_ino == written
    smaller = assignment.Pool(facts.SETTINGS, POOL.devices[:1])
    given.announce(smaller)
    assert listed(tmp_path) == [ONE.id]
    given.forget(smaller)
    assert os.listdir(tmp_path / "cdi") == []


def test_d38_specs_of_resources_that_are_no_more_are_swept(tmp_path: pathlib.Path) -> None:
    """The incumbent's too: a device that two specs name can be had from neither."""
    (tmp_path / "cdi").mkdir()
    for name in ("sriov-dp-intel.com-net-pci_abc.yaml", "sriov-dp-intel.com-net-pci-old.json", "nvidia.yaml"):
        (tmp_path / "cdi" / name).touch()
    given = giver(tmp_path)
    given.announce(POOL)
    given.sweep()
    assert sorted(os.listdir(tmp_path / "cdi")) == ["nvidia.yaml", SPEC]


def test_without_cdi_nothing_of_it_is_touched(tmp_path: pathlib.Path) -> None:
    (tmp_path / "cdi").mkdir()
    (tmp_path / "cdi/sriov-dp-x.yaml").touch()
    given = giver(tmp_path, cdi.Delivery.NODES)
    given.announce(POOL)
    given.sweep()
    (answer,) = given.allocate(POOL, [[ONE.id]])
    assert [node.host for node in answer.nodes] == ["/dev/vfio/vfio", "/dev/vfio/7"]
    assert os.listdir(tmp_path / "cdi") == ["sriov-dp-x.yaml"]


@pytest.mark.parametrize("delivery", list(cdi.Delivery))
def test_d33_where_nothing_can_be_written_a_pod_gets_its_devices(
    delivery: cdi.Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    given = device_files.Handout(device_files.FilePlaces(facts.NOWHERE.devinfo, facts.NOWHERE.specs, delivery))
    (answer,) = given.allocate(POOL, [[ONE.id]])
    assert [node.host for node in answer.nodes] == ["/dev/vfio/vfio", "/dev/vfio/7"]
    assert f"cannot write /proc/nowhere/intel.com-a-{ONE.id}-device.json" in caplog.text


def test_d32_a_request_that_is_refused_leaves_no_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(allocation.AllocationError):
        giver(tmp_path, cdi.Delivery.NODES).allocate(POOL, [[ONE.id], ["0000:99:00.0"]])
    assert os.listdir(tmp_path) == []


def test_d39_device_info_is_replaced_whole(tmp_path: pathlib.Path) -> None:
    """Read-only for all, also when an older one is there, and no draft is left."""
    path = tmp_path / "devinfo/dp" / f"intel.com-a-{ONE.id}-device.json"
    path.parent.mkdir(parents=True)
    path.write_text("old")
    giver(tmp_path).allocate(POOL, [[ONE.id]])
    assert json.loads(path.read_text())["pci"]["pci-address"] == ONE.id
    assert path.stat().st_mode & 0o777 == 0o444
    assert os.listdir(path.parent) == [path.name]
