"""Container Device Interface: spec files with device nodes for the runtime, and device names for Allocate.

Facts: CDI spec 0.5.0 (device names may begin with a digit, nodes may have a host path) and its Go library for names
and annotations (pkg/parser, pkg/cdi/annotations.go). A device without a node is in no spec: an empty edit is invalid.
"""

import enum
import json
from collections.abc import Mapping, Sequence

from sriov.kubelet import names
from sriov.pools import assignment, device_nodes, resources

VERSION = "0.5.0"
PREFIX = "sriov-dp-"
"""Prefix of spec files, ours and upstream's; both name the same devices, so only one plugin's may be there."""

_CLASSES = {
    resources.DeviceType.NET: "net-pci",
    resources.DeviceType.ACCELERATOR: "net-accel",
    resources.DeviceType.AUXILIARY: "net-sf",
}
_KEY_MAX = 63  # of an annotation's name, after cdi.k8s.io/


class Delivery(enum.Enum):
    """Way of device nodes into the container: by path, by CDI name, or by CDI annotation for kubelets before 1.28."""

    NODES = "nodes"
    FIELD = "cdi"
    ANNOTATIONS = "cdi-annotations"


def kind(settings: resources.Resource) -> str:
    """Return vendor and class, as in `intel.com/net-pci`."""
    return f"{settings.prefix}/{_CLASSES[settings.kind]}"


def qualified_names(settings: resources.Resource, devices: Sequence[assignment.Device]) -> tuple[str, ...]:
    return tuple(f"{kind(settings)}={device.id}" for device in devices)


def annotations(settings: resources.Resource, qualified: Sequence[str]) -> dict[str, str]:
    """Return one key for each resource: the kubelet merges the annotations of a container's resources."""
    if not qualified:
        return {}
    name = f"{settings.prefix}_{settings.name}"
    if len(name) > _KEY_MAX:
        name = f"{name[: _KEY_MAX - 13]}-{names.digest(name)}"
    return {f"cdi.k8s.io/{name}": ",".join(qualified)}


def file_name(settings: resources.Resource) -> str:
    return f"{PREFIX}{settings.prefix}-{_CLASSES[settings.kind]}-{settings.name}.json"


def spec(pool: assignment.Pool) -> bytes | None:
    """Encode the pool's spec file; None if no device has a node."""
    listed = [
        _device(device.id, nodes) for device in pool.devices if (nodes := device_nodes.nodes(device, pool.shared))
    ]
    if not listed:
        return None
    return json.dumps({"cdiVersion": VERSION, "kind": kind(pool.settings), "devices": listed}).encode()


def _device(name: str, nodes: Sequence[device_nodes.DeviceNode]) -> Mapping[str, object]:
    edits = [{"path": node.container, "hostPath": node.host, "permissions": "rw"} for node in nodes]
    return {"name": name, "containerEdits": {"deviceNodes": edits}}
