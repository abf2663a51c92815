"""Allocate's answer to a container, to the byte, and the devices that are refused."""

import pytest

from deviceplugin import allocation
from sriov.hardware import node_devices
from sriov.pools import assignment, cdi, resources
from tests.sriov.pools import facts

SETTINGS = resources.Resource("intel.com", "sriov_net-A")
POOL = assignment.Pool(SETTINGS, (facts.device(0), facts.device(1), facts.device(2, "has no driver")))
FIRST, SECOND, DRIVERLESS = (device.id for device in POOL.devices)


def test_d37_variables_as_the_incumbent_writes_them() -> None:
    """Request order in the list, sorted keys and no space in the JSON; dots become underscores, a hyphen stays."""
    assert allocation.answer(POOL, [SECOND, FIRST]).envs == {
        "PCIDEVICE_INTEL_COM_SRIOV_NET-A": "0000:01:00.1,0000:01:00.0",
        "PCIDEVICE_INTEL_COM_SRIOV_NET-A_INFO": '{"0000:01:00.0":{"generic":{"deviceID":"0000:01:00.0"}},'
        '"0000:01:00.1":{"generic":{"deviceID":"0000:01:00.1"}}}',
    }


def test_d35_asking_again_gets_the_same() -> None:
    assert allocation.answer(POOL, [FIRST]) == allocation.answer(POOL, [FIRST])


def test_text_is_escaped_as_go_does() -> None:
    settings = resources.Resource("intel.com", "a", additional_info={"*": {"k": "<\u00e9&\u2028>"}})
    pool = assignment.Pool(settings, (facts.device(0),))
    told = allocation.answer(pool, [FIRST]).envs["PCIDEVICE_INTEL_COM_A_INFO"]
    assert '"extra":{"k":"\\u003c\u00e9\\u0026\\u2028\\u003e"}' in told


@pytest.mark.parametrize(
    ("ids", "message", "retryable"),
    [
        (["0000:99:00.0"], "intel.com/sriov_net-A has no device '0000:99:00.0'", False),
        ([FIRST, "../../etc"], "has no device '../../etc'", False),
        ([FIRST, FIRST], "names 0000:01:00.0 of intel.com/sriov_net-A twice", False),
        ([DRIVERLESS], "device 0000:01:00.2 of intel.com/sriov_net-A is unhealthy: it has no driver", True),
    ],
)
def test_d32_devices_that_cannot_be_given(ids: list[str], message: str, retryable: bool) -> None:
    with pytest.raises(allocation.AllocationError, match=message) as caught:
        allocation.answer(POOL, ids)
    assert caught.value.retryable is retryable
    assert caught.value.remedy


def vfio(group: str) -> assignment.Device:
    one = facts.vf(int(group), driver="vfio-pci", iommu=node_devices.IommuGroup(group), vfio=node_devices.Vfio())
    return assignment.Device(one.id, one)


def test_a_node_that_two_devices_share_is_given_once() -> None:
    pool = assignment.Pool(SETTINGS, (vfio("1"), vfio("2")))
    given = allocation.answer(pool, [device.id for device in pool.devices])
    assert [node.host for node in given.nodes] == ["/dev/vfio/vfio", "/dev/vfio/1", "/dev/vfio/2"]


@pytest.mark.parametrize(
    ("delivery", "names", "key"),
    [(cdi.Delivery.FIELD, 1, None), (cdi.Delivery.ANNOTATIONS, 0, "cdi.k8s.io/intel.com_sriov_net-A")],
)
def test_d38_by_cdi_no_node_is_given_and_a_device_without_one_is_not_named(
    delivery: cdi.Delivery, names: int, key: str | None
) -> None:
    pool = assignment.Pool(SETTINGS, (vfio("1"), facts.device(0)))
    given = allocation.answer(pool, [device.id for device in pool.devices], delivery)
    named = f"intel.com/net-pci={vfio('1').id}"
    assert given.nodes == ()
    assert given.cdi_devices == (named,) * names
    assert given.annotations == ({key: named} if key else {})
    assert allocation.answer(pool, [facts.device(0).id], delivery).annotations == {}
