"""ResourceSlice (resource.k8s.io/v1), as much of it as the driver writes and compares. Pure."""

import functools
from typing import Any

import msgspec

MOST_DEVICES = 64
"""Devices of a slice: 128, and 64 once any device has a taint (kubernetes pkg/apis/resource/types.go,
ResourceSliceMaxDevicesWithAdvancedFeatures). Always the smaller one, so that a taint moves no device."""

Attributes = dict[str, dict[str, Any]]
"""By name; each value has one key: bool, int, string or version. Nobody changes a value: see `value`."""


@functools.lru_cache(8192, typed=True)
def value(kind: str, content: Any) -> dict[str, Any]:
    """Return a value, the same object each time: most are those of many devices, and a node has a thousand."""
    return {kind: content}


class DeviceTaint(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """`time_added` is the server's."""

    key: str
    effect: str
    value: str = ""
    time_added: str | None = None


class SliceDevice(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    attributes: Attributes = msgspec.field(default_factory=dict)
    taints: tuple[DeviceTaint, ...] = ()


class SlicePool(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    generation: int
    resource_slice_count: int


class SliceSpec(msgspec.Struct, frozen=True, rename="camel"):
    driver: str
    pool: SlicePool
    node_name: str = ""
    devices: tuple[SliceDevice, ...] = ()


class OwnerNode(msgspec.Struct, frozen=True, rename="camel"):
    """The Node: with it the slices go."""

    name: str
    uid: str
    api_version: str = "v1"
    kind: str = "Node"
    controller: bool = True


class SliceMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str = ""
    generateName: str = ""  # noqa: N815  # the client library reads these by their names
    resourceVersion: str = ""  # noqa: N815
    uid: str = ""
    ownerReferences: tuple[OwnerNode, ...] = ()  # noqa: N815

    @property
    def key(self) -> tuple[str, str]:
        return "", self.name


class DeviceSlice(msgspec.Struct, frozen=True):
    metadata: SliceMetadata
    spec: SliceSpec
    apiVersion: str = "resource.k8s.io/v1"  # noqa: N815
    kind: str = "ResourceSlice"


def share_values(found: DeviceSlice) -> None:
    """Put shared objects in the place of the attributes' values, which a slice that was decoded has for itself."""
    for device in found.spec.devices:
        for name, told in device.attributes.items():
            if len(told) == 1:
                device.attributes[name] = value(*next(iter(told.items())))
