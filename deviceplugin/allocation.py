"""What a container gets for its VFs: environment variables, as the incumbent writes them. Pure.

Nothing is remembered: the kubelet asks again for the same VF when a pod's next container uses it, or the next pod,
and never says that one is free (pkg/kubelet/cm/devicemanager/manager.go, devicesToAllocate).
"""

import json
from collections.abc import Sequence

from deviceplugin import names, pools
from sriov import errors


class AllocationError(errors.SriovError):
    """The kubelet asked for devices that this pool cannot give.

    `retryable`: the request is right, but the device is not healthy now.
    """

    def __init__(self, message: str, remedy: str, *, retryable: bool) -> None:
        super().__init__(message, remedy)
        self.retryable = retryable


def environment(pool: pools.Pool, ids: Sequence[str]) -> dict[str, str]:
    """The variables of one container that was given these devices, in the request's order.

    `PCIDEVICE_<PREFIX>_<NAME>` lists their PCI addresses, separated by commas; the same with `_INFO` is JSON that has
    an object of properties for each. Raises AllocationError.
    """
    _check(pool, ids)
    info = {address: {"generic": {"deviceID": address}} for address in ids}
    return {
        names.variable(pool.prefix, pool.name): ",".join(ids),
        names.info_variable(pool.prefix, pool.name): json.dumps(info, sort_keys=True, separators=(",", ":")),
    }


def _check(pool: pools.Pool, ids: Sequence[str]) -> None:
    members = {device.id: device for device in pool.devices}
    seen: set[str] = set()
    for address in ids:
        if address not in members:
            raise AllocationError(
                f"{pool.resource} has no device {address!r}", "the kubelet will be sent the list again", retryable=False
            )
        if address in seen:
            raise AllocationError(
                f"the request names {address} of {pool.resource} twice", "ask for each device once", retryable=False
            )
        if members[address].health is not pools.Health.HEALTHY:
            raise AllocationError(
                f"device {address} of {pool.resource} has no driver",
                f"bind one: look at /sys/bus/pci/devices/{address}/driver",
                retryable=True,
            )
        seen.add(address)
