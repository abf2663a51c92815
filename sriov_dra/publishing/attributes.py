"""A device as its ResourceSlice describes it. Pure.

Attributes do not change while pods come and go, so that no slice is written then. Those of the domains
`resource.kubernetes.io` and `k8s.cni.cncf.io` are others' words: the standard ones of Kubernetes, and the two by which
Multus finds a claim's device. A name without a domain is the driver's own.
"""

import re

from sriov.hardware import node_devices
from sriov.pools import assignment, health
from sriov_dra.publishing import slice_objects

_STRING_MAX = 64  # bytes (kubernetes pkg/apis/resource/types.go, DeviceAttributeMaxValueLength)
_NO_LABEL = re.compile(r"[^a-z0-9-]")
_SWITCHED = 4  # host bridge, root port, and both ends of a switch


def device(
    one: assignment.Device, pool: assignment.Pool, ailments: list[health.Ailment], driver: str
) -> slice_objects.SliceDevice:
    """Return the device as it is published; what ails it becomes taints."""
    kinds = dict.fromkeys(each.kind.value for each in ailments)
    taints = tuple(slice_objects.DeviceTaint(f"{driver}/{kind}", "NoSchedule") for kind in kinds)
    return slice_objects.SliceDevice(name(one.id), attributes(one, pool), taints)


def name(identifier: str) -> str:
    """Return a device's name, a DNS label: `0000:01:10.0` is `0000-01-10-0`."""
    return _NO_LABEL.sub("-", identifier.lower())


def attributes(one: assignment.Device, pool: assignment.Pool) -> slice_objects.Attributes:
    """Return what is known; a string that is longer than the API takes is left out."""
    facts = one.facts
    texts = {
        "resource.kubernetes.io/pciBusID": facts.pci,
        "resource.kubernetes.io/pcieRoot": _root(facts),
        "k8s.cni.cncf.io/deviceID": one.id,
        "k8s.cni.cncf.io/resourceName": pool.resource,
        "resource": pool.resource,
        "vendor": facts.vendor,
        "device": facts.device,
        "driver": facts.driver,
        "pf": facts.pf_netdev,
        "pfAddress": facts.pf,
        "linkType": facts.link_type.value,
        "pcieSwitch": _switch(facts),
    }
    found: slice_objects.Attributes = {
        key: slice_objects.value("string", text) for key, text in texts.items() if text and len(text) <= _STRING_MAX
    }
    found["rdma"] = slice_objects.value("bool", facts.rdma is not None)
    if facts.index is not None:
        found["vfIndex"] = slice_objects.value("int", facts.index)
    if one.numa_node is not None:
        found["resource.kubernetes.io/numaNode"] = slice_objects.value("int", one.numa_node)
    return found


def _root(facts: node_devices.Candidate) -> str | None:
    """Return the host bridge, as in `pci0000:00`."""
    root = facts.bridges[0] if facts.bridges else ""
    return root if root.startswith("pci") else None


def _switch(facts: node_devices.Candidate) -> str | None:
    """Return the address of the upstream port of the nearest PCIe switch above the device; None without a switch."""
    return facts.bridges[-2] if len(facts.bridges) >= _SWITCHED else None
