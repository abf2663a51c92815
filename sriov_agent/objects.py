"""Kubernetes objects, as much of them as the agent reads. Pure: they decode from the API server's JSON.

Everything else of an object is passed over while it is decoded, so that a list of many takes little memory. Names are
those of the API (core/v1, discovery.k8s.io/v1, networking.k8s.io/v1).
"""

from typing import Protocol

import msgspec


class AnyMetadata(Protocol):
    @property
    def resourceVersion(self) -> str: ...  # noqa: N802  # the client library reads it by this name

    @property
    def key(self) -> tuple[str, str]: ...


class AnyObject(Protocol):
    """What is asked of an object, of whatever kind, to follow it. `key` is its namespace and name."""

    @property
    def metadata(self) -> AnyMetadata: ...


class Labels(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Those that mean something here; None if an object has no such label."""

    service_name: str | None = msgspec.field(name="kubernetes.io/service-name", default=None)
    proxy_name: str | None = msgspec.field(name="service.kubernetes.io/service-proxy-name", default=None)
    headless: str | None = msgspec.field(name="service.kubernetes.io/headless", default=None)
    zone: str | None = msgspec.field(name="topology.kubernetes.io/zone", default=None)


class Metadata(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""  # noqa: N815  # the client library reads it by this name
    labels: Labels = Labels()

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


class ServicePort(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    port: int = 0
    name: str = ""
    protocol: str = "TCP"
    node_port: int = 0


class ClientIP(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    timeout_seconds: int | None = None


class AffinityConfig(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    client_ip: ClientIP = msgspec.field(name="clientIP", default=ClientIP())


class ServiceSpec(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: tuple[str, ...] = msgspec.field(name="clusterIPs", default=())
    external_ips: tuple[str, ...] = msgspec.field(name="externalIPs", default=())
    ports: tuple[ServicePort, ...] = ()
    session_affinity: str = "None"
    session_affinity_config: AffinityConfig | None = None
    internal_traffic_policy: str = "Cluster"
    load_balancer_source_ranges: tuple[str, ...] = ()


class Ingress(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    ip: str = ""
    ip_mode: str = "VIP"


class LoadBalancer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    ingress: tuple[Ingress, ...] = ()


class ServiceStatus(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    load_balancer: LoadBalancer = LoadBalancer()


class ServiceObject(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointConditions(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Named(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    name: str


class Hints(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    for_zones: tuple[Named, ...] = ()
    for_nodes: tuple[Named, ...] = ()


class SliceEndpoint(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    node_name: str | None = None
    hints: Hints | None = None


class SlicePort(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class SliceObject(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    metadata: Metadata
    address_type: str = ""
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None


class NodeAddress(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    type: str = ""
    address: str = ""


class NodeStatus(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    addresses: tuple[NodeAddress, ...] = ()


class NodeObject(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    metadata: Metadata
    status: NodeStatus = NodeStatus()


class RangeSpec(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    cidrs: tuple[str, ...] = ()


class RangeObject(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    metadata: Metadata
    spec: RangeSpec = RangeSpec()
