"""Kubernetes objects of network policies, as much of them as is read: pods, namespaces, policies. Pure.

Names are those of the API (core/v1, networking.k8s.io/v1, k8s.cni.cncf.io/v1beta1 and v1beta2).
"""

import msgspec


class Annotations(msgspec.Struct, frozen=True, gc=False):
    """Those that mean something here."""

    policy_for: str = msgspec.field(name="k8s.v1.cni.cncf.io/policy-for", default="")
    network_status: str = msgspec.field(name="k8s.v1.cni.cncf.io/network-status", default="")
    networks: str = msgspec.field(name="k8s.v1.cni.cncf.io/networks", default="")
    mirror: str = msgspec.field(name="kubernetes.io/config.mirror", default="")


class LabelledMetadata(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""  # noqa: N815  # the client library reads it by this name
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: Annotations = Annotations()

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


class NamespaceObject(msgspec.Struct, frozen=True, gc=False):
    metadata: LabelledMetadata


class ContainerPort(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    container_port: int = 0
    name: str = ""
    protocol: str = "TCP"


class Container(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    ports: tuple[ContainerPort, ...] | None = ()
    restart_policy: str | None = None


class SpecOfPod(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    node_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = ()


class PodIP(msgspec.Struct, frozen=True, gc=False):
    ip: str = ""


class PodStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    phase: str = ""
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(name="podIPs", default=())


class PodObject(msgspec.Struct, frozen=True, gc=False):
    metadata: LabelledMetadata
    spec: SpecOfPod = SpecOfPod()
    status: PodStatus = PodStatus()


class Requirement(msgspec.Struct, frozen=True, gc=False):
    key: str
    operator: str
    values: tuple[str, ...] | None = ()


class LabelSelector(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Requirement, ...] | None = None


class IpBlock(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    cidr: str
    exceptions: tuple[str, ...] | None = msgspec.field(name="except", default=())


class Peer(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IpBlock | None = None


class PolicyPort(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    protocol: str | None = None
    port: int | str | None = None
    end_port: int | None = None


class IngressRule(msgspec.Struct, frozen=True, gc=False):
    peers: tuple[Peer, ...] | None = msgspec.field(name="from", default=())
    ports: tuple[PolicyPort, ...] | None = ()


class EgressRule(msgspec.Struct, frozen=True, gc=False):
    peers: tuple[Peer, ...] | None = msgspec.field(name="to", default=())
    ports: tuple[PolicyPort, ...] | None = ()


class PolicySpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[str, ...] | None = None
    ingress: tuple[IngressRule, ...] | None = None
    egress: tuple[EgressRule, ...] | None = None


class PolicyObject(msgspec.Struct, frozen=True, gc=False):
    metadata: LabelledMetadata
    spec: PolicySpec = PolicySpec()


class MultiPolicyObject(PolicyObject, frozen=True, gc=False):
    """MultiNetworkPolicy: the same, for the networks that its annotation names."""
