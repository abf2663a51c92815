"""Device nodes that a container needs to use a device, and the variables that describe its devices. Pure.

Sections and keys of `_INFO`, and the order of the nodes, are those of upstream's info providers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from sriov.hardware import node_devices
from sriov.kubelet import names
from sriov.pools import assignment, resources

_VFIO, _IOMMUFD = "/dev/vfio/vfio", "/dev/iommu"
_VHOST_NET, _TUN = "/dev/vhost-net", "/dev/net/tun"
_RDMA_CM = "/dev/infiniband/rdma_cm"
_UIO_DRIVERS = ("uio", "igb_uio")  # with uio_pci_generic upstream gives nothing
_GO_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})  # encoding/json, HTMLEscape

Info = dict[str, dict[str, str]]


class DeviceNode(msgspec.Struct, frozen=True):
    """A device node, by its paths; always readable and writable."""

    host: str
    container: str


class _Section(msgspec.Struct, frozen=True):
    """One section of `_INFO` and the nodes that it describes."""

    name: str
    values: dict[str, str]
    nodes: tuple[DeviceNode, ...] = ()


def nodes(device: assignment.Device, shared: frozenset[str]) -> tuple[DeviceNode, ...]:
    """Return the device's nodes. `shared` are the node-wide ones that exist on this machine, as in /dev/vhost-net."""
    return tuple(node for section in _sections(device, shared) for node in section.nodes)


def info(device: assignment.Device, resource: resources.Resource, shared: frozenset[str]) -> Info:
    """Return the device's object in `_INFO`."""
    found = {section.name: section.values for section in _sections(device, shared)}
    if resource.additional_info is not None:
        found["extra"] = _extra(resource.additional_info, device)
    return found


def environment(
    resource: resources.Resource, chosen: Sequence[assignment.Device], shared: frozenset[str]
) -> dict[str, str]:
    """Return the variables: `PCIDEVICE_<PREFIX>_<NAME>` has the devices' IDs, separated by commas; that with `_INFO`
    is JSON with an object of properties for each device, in Go's spelling: sorted keys, no spaces."""
    described = {device.id: info(device, resource, shared) for device in chosen}
    encoded = json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {
        names.variable(resource.prefix, resource.name): ",".join(device.id for device in chosen),
        names.info_variable(resource.prefix, resource.name): encoded.translate(_GO_ESCAPES),
    }


def _sections(device: assignment.Device, shared: frozenset[str]) -> Iterator[_Section]:
    facts, selector = device.facts, device.selector
    yield _Section("generic", {"deviceID": device.id})
    if facts.aux_type is None and facts.vfio is not None:
        yield _vfio(device, facts.vfio, shared)
    if facts.aux_type is None and facts.driver in _UIO_DRIVERS:
        yield _uio(device)
    if selector.is_rdma and facts.rdma is not None:
        yield _rdma(device, shared)
    if selector.need_vhost_net and {_VHOST_NET, _TUN} <= shared:
        yield _Section("vhost", {"net-mount": _VHOST_NET, "tun-mount": _TUN}, _same(_VHOST_NET, _TUN))
    if selector.vdpa_type is not None and facts.vdpa is not None:
        path = facts.vdpa.path if selector.vdpa_type == "vhost" else None
        yield _Section("vdpa", {"mount": path}, _same(path)) if path else _Section("vdpa", {})


def _vfio(device: assignment.Device, vfio: node_devices.Vfio, shared: frozenset[str]) -> _Section:
    """Give the group's node, and iommufd's too if the kernel has it: the program uses the one that it knows."""
    group, newer = device.facts.iommu, _iommufd(vfio, shared)
    if group is None:
        return _Section("vfio", {"mount": _VFIO}, (*_same(_VFIO), *newer))
    inside = f"/dev/vfio/{group.number}"
    outside = f"/dev/vfio/noiommu-{group.number}" if group.unsafe else inside
    return _Section("vfio", {"mount": _VFIO, "dev-mount": inside}, (*_same(_VFIO), DeviceNode(outside, inside), *newer))


def _iommufd(vfio: node_devices.Vfio, shared: frozenset[str]) -> tuple[DeviceNode, ...]:
    """Give iommufd and the device's node, both or none (Documentation/driver-api/vfio.rst, "IOMMUFD and ...type1")."""
    if vfio.device is None or _IOMMUFD not in shared:
        return ()
    return _same(_IOMMUFD, f"/dev/vfio/devices/{vfio.device}")


def _uio(device: assignment.Device) -> _Section:
    if device.facts.uio is None:
        return _Section("uio", {})
    path = f"/dev/{device.facts.uio}"
    return _Section("uio", {"mount": path}, _same(path))


def _rdma(device: assignment.Device, shared: frozenset[str]) -> _Section:
    offered = device.facts.rdma
    assert offered is not None
    paths = [f"/dev/infiniband/{name}" for name in offered.nodes]
    values = {path.rpartition("/")[2].rstrip("0123456789"): path for path in paths}
    if paths and _RDMA_CM in shared:
        paths.append(_RDMA_CM)
        values["rdma_cm"] = _RDMA_CM
    if offered.devices:
        values["rdma_dev"] = offered.devices[0]
    return _Section("rdma", values, _same(*paths))


def _same(*paths: str) -> tuple[DeviceNode, ...]:
    return tuple(DeviceNode(path, path) for path in paths)


def _extra(additional: Mapping[str, Mapping[str, str]], device: assignment.Device) -> dict[str, str]:
    """Merge the values for every device with those for this one; a subfunction has the PCI device that it is on."""
    return {**additional.get("*", {}), **additional.get(device.facts.pci, {})}
