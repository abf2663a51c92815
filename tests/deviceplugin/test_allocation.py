"""What a container is told, to the byte."""

import pytest

from deviceplugin import allocation, pools
from tests.deviceplugin import facts

POOL = pools.Pool(
    "intel.com", "sriov_net-A", (facts.device(0), facts.device(1), facts.device(2, pools.Health.UNHEALTHY))
)
FIRST, SECOND, DRIVERLESS = (device.id for device in POOL.devices)


def test_d37_variables_as_the_incumbent_writes_them() -> None:
    """Request order in the list, sorted keys and no space in the JSON; dots become underscores, a hyphen stays."""
    assert allocation.environment(POOL, [SECOND, FIRST]) == {
        "PCIDEVICE_INTEL_COM_SRIOV_NET-A": "0000:01:00.1,0000:01:00.0",
        "PCIDEVICE_INTEL_COM_SRIOV_NET-A_INFO": '{"0000:01:00.0":{"generic":{"deviceID":"0000:01:00.0"}},'
        '"0000:01:00.1":{"generic":{"deviceID":"0000:01:00.1"}}}',
    }


def test_d35_asking_again_gets_the_same() -> None:
    assert allocation.environment(POOL, [FIRST]) == allocation.environment(POOL, [FIRST])


@pytest.mark.parametrize(
    ("ids", "message", "retryable"),
    [
        (["0000:99:00.0"], "intel.com/sriov_net-A has no device '0000:99:00.0'", False),
        ([FIRST, "../../etc"], "has no device '../../etc'", False),
        ([FIRST, FIRST], "names 0000:01:00.0 of intel.com/sriov_net-A twice", False),
        ([DRIVERLESS], "device 0000:01:00.2 of intel.com/sriov_net-A has no driver", True),
    ],
)
def test_d32_devices_that_cannot_be_given(ids: list[str], message: str, retryable: bool) -> None:
    with pytest.raises(allocation.AllocationError, match=message) as caught:
        allocation.environment(POOL, ids)
    assert caught.value.retryable is retryable
    assert caught.value.remedy
