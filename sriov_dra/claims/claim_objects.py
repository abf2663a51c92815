"""ResourceClaim (resource.k8s.io/v1) and Node, as much of them as the driver reads. Pure."""

from typing import Any

import msgspec


class ClaimOwner(msgspec.Struct, frozen=True):
    """Owner of an object; a pod owns the claim that was made for it from a template."""

    kind: str = ""


class ClaimMetadata(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815  # the client library reads it by this name
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    owners: tuple[ClaimOwner, ...] = msgspec.field(name="ownerReferences", default=())


class DeviceResult(msgspec.Struct, frozen=True, rename="camel"):
    """A device that the claim was given. `request` is its name, with a subrequest as `request/subrequest`."""

    request: str
    driver: str
    pool: str
    device: str
    share_id: str | None = msgspec.field(name="shareID", default=None)
    admin_access: bool | None = None


class Opaque(msgspec.Struct, frozen=True):
    driver: str
    parameters: Any = None


class ClaimConfiguration(msgspec.Struct, frozen=True):
    """Parameters for a driver. Without `requests` they are for all."""

    source: str = "FromClaim"
    requests: tuple[str, ...] = ()
    opaque: Opaque | None = None


class DeviceAllocation(msgspec.Struct, frozen=True):
    results: tuple[DeviceResult, ...] = ()
    config: tuple[ClaimConfiguration, ...] = ()


class Allocation(msgspec.Struct, frozen=True):
    devices: DeviceAllocation = DeviceAllocation()


class Consumer(msgspec.Struct, frozen=True):
    """What the claim is reserved for: a pod has the resource `pods` and no group."""

    resource: str
    name: str
    uid: str
    api_group: str = msgspec.field(name="apiGroup", default="")


class DeviceCondition(msgspec.Struct, frozen=True, rename="camel"):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""


class NetworkData(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    interface_name: str = ""
    ips: tuple[str, ...] = ()
    hardware_address: str = ""


class DeviceState(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """State of an allocated device, as its driver reports it (AllocatedDeviceStatus)."""

    driver: str
    pool: str
    device: str
    share_id: str | None = msgspec.field(name="shareID", default=None)
    conditions: tuple[DeviceCondition, ...] = ()
    network_data: NetworkData | None = None


class ClaimStatus(msgspec.Struct, frozen=True, rename="camel"):
    allocation: Allocation | None = None
    reserved_for: tuple[Consumer, ...] = ()
    devices: tuple[DeviceState, ...] = ()


class ClaimObject(msgspec.Struct, frozen=True):
    metadata: ClaimMetadata
    status: ClaimStatus = ClaimStatus()


class OwnNode(msgspec.Struct, frozen=True):
    metadata: ClaimMetadata
