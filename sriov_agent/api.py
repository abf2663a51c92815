"""Kinds of objects that the agent watches, and which of them, as the API server is asked for them."""

from sriov.apiserver.connection import WatchedKind
from sriov_agent import objects

# As kube-proxy asks (cmd/kube-proxy/app/server.go): what is another proxy's is not even sent.
_OURS = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")


def kinds(node: str) -> tuple[WatchedKind, ...]:
    """Return what is watched for this node's Services."""
    return (
        WatchedKind("Service", objects.ServiceObject, "services", without=_OURS),
        WatchedKind("EndpointSlice", objects.SliceObject, "endpointslices", "discovery.k8s.io", without=_OURS),
        WatchedKind("Node", objects.NodeObject, "nodes", is_namespaced=False, fields={"metadata.name": node}),
        WatchedKind(
            "ServiceCIDR", objects.RangeObject, "servicecidrs", "networking.k8s.io", is_namespaced=False, optional=True
        ),
    )
