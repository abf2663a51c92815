"""Device-info files (Network Plumbing WG, device information spec 1.1.0), in which Multus reads of a pod's devices.

One file for each device. It is read after the CNI call, so it is written at Allocate and left there: a restart of the
device plugin between the two loses nothing, and the next Allocate writes it again. Subfunctions and accelerators have
none.
"""

import json

from sriov.hardware import node_devices
from sriov.kubelet import names
from sriov.pools import assignment

_VERSION = "1.1.0"


def file_name(pool: assignment.Pool, device: assignment.Device) -> str:
    """Return the name that Multus looks for: resource and device ID, joined."""
    settings = pool.settings
    return f"{names.resource(settings.prefix, settings.name)}-{device.id}-device.json".replace("/", "-")


def content(pool: assignment.Pool, device: assignment.Device) -> bytes | None:
    """Encode the file; None for a device that has none. Unknown fields are left out."""
    facts = device.facts
    if facts.role not in (node_devices.Role.VF, node_devices.Role.PF, node_devices.Role.NIC):
        return None
    if facts.vdpa is not None and device.selector.vdpa_type is not None:
        return _encode("vdpa", _vdpa(facts))
    return _encode("pci", _pci(device, pool.shared))


def _pci(device: assignment.Device, shared: frozenset[str]) -> dict[str, str | None]:
    facts = device.facts
    rdma = facts.rdma if device.selector.is_rdma else None
    vhost = device.selector.need_vhost_net and "/dev/vhost-net" in shared
    return {
        "pci-address": facts.pci,
        "vhost-net": "/dev/vhost-net" if vhost else None,
        "rdma-device": ",".join(rdma.devices) if rdma else None,
        "pf-pci-address": facts.pf,
        "representor-device": facts.representor,
    }


def _vdpa(facts: node_devices.Candidate) -> dict[str, str | None]:
    vdpa = facts.vdpa
    assert vdpa is not None
    return {
        "parent-device": vdpa.name,
        "driver": vdpa.type,
        "path": vdpa.path,
        "pci-address": facts.pci,
        "pf-pci-address": facts.pf,
        "representor-device": facts.representor,
    }


def _encode(kind: str, values: dict[str, str | None]) -> bytes:
    known = {key: value for key, value in values.items() if value}
    return json.dumps({"type": kind, "version": _VERSION, kind: known}, separators=(",", ":")).encode()
