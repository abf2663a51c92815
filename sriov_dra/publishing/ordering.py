"""Order of a pool's devices: it carries `allocationPolicy`, since the scheduler takes the first devices that fit. Pure.

That the allocator looks at pools, slices and devices in their order is how it is written (kubernetes
staging/src/k8s.io/dynamic-resource-allocation/structured), and not promised: the order is a preference.
"""

import collections
from collections.abc import Callable, Sequence

from sriov.pools import assignment, resources


def ordered(pool: assignment.Pool) -> tuple[assignment.Device, ...]:
    return tuple(_ORDERS[pool.settings.policy](pool.devices))


def _spread(devices: Sequence[assignment.Device]) -> list[assignment.Device]:
    """Take from each PF in turn."""
    taken: collections.Counter[str] = collections.Counter()
    turns = []
    for device in devices:
        turns.append(taken[_pf(device)])
        taken[_pf(device)] += 1
    return [device for _, device in sorted(zip(turns, devices, strict=True), key=lambda pair: pair[0])]


def _packed(devices: Sequence[assignment.Device]) -> list[assignment.Device]:
    """Take PF by PF, the smallest first, so that a large one stays whole."""
    count = collections.Counter(map(_pf, devices))
    return sorted(devices, key=lambda device: (count[_pf(device)], _pf(device)))


def _numa(devices: Sequence[assignment.Device]) -> list[assignment.Device]:
    """Take NUMA node by NUMA node; devices without one come last."""
    return sorted(devices, key=lambda device: (device.facts.numa_node is None, device.facts.numa_node or 0))


def _pcie(devices: Sequence[assignment.Device]) -> list[assignment.Device]:
    """Take those below one bridge after another."""
    return sorted(devices, key=lambda device: (*device.facts.bridges, _pf(device)))


def _pf(device: assignment.Device) -> str:
    return device.facts.pf or device.facts.pci


_ORDERS: dict[resources.AllocationPolicy, Callable[[Sequence[assignment.Device]], list[assignment.Device]]] = {
    resources.AllocationPolicy.SPREAD: _spread,
    resources.AllocationPolicy.PACKED: _packed,
    resources.AllocationPolicy.NUMA: _numa,
    resources.AllocationPolicy.PCIE: _pcie,
}
