"""ResourceSlice (resource.k8s.io/v1), as much of it as the driver writes and compares. Pure."""

from typing import Any

import msgspec

MOST_DEVICES = 64
"""Devices of a slice: 128, and 64 once any device has a taint (kubernetes pkg/apis/resource/types.go,
ResourceSliceMaxDevicesWithAdvancedFeatures). Always the smaller one, so that a taint moves no device."""

Attributes = dict[str, dict[str, Any]]
"""By name; each value has one key: bool, int, string or version."""


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
