"""Device-info files (Network Plumbing WG, device information spec 1.1.0): what Multus tells of a pod's devices.

One file a device, read once the CNI has been called, so it is written at Allocate and left: a restart of the device
plugin between the two loses nothing, and the next Allocate writes it anew. Subfunctions and accelerators have none.
"""

import json

from deviceplugin import names, pools
from sriov import candidates

_VERSION = "1.1.0"


def file_name(pool: pools.Pool, device: pools.Device) -> str:
    """Multus looks for the resource and the device's ID, joined so."""
    settings = pool.settings
    return f"{names.resource(settings.prefix, settings.name)}-{device.id}-device.json".replace("/", "-")


def content(pool: pools.Pool, device: pools.Device) -> bytes | None:
    """The file; None for a device that has none. Fields that are unknown are left out."""
    facts = device.facts
    if facts.role not in (candidates.Role.VF, candidates.Role.PF, candidates.Role.NIC):
        return None
    if facts.vdpa is not None and device.selector.vdpa_type is not None:
        return _encode("vdpa", _vdpa(facts))
    return _encode("pci", _pci(device, pool.shared))


def _pci(device: pools.Device, shared: frozenset[str]) -> dict[str, str | None]:
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


def _vdpa(facts: candidates.Candidate) -> dict[str, str | None]:
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
