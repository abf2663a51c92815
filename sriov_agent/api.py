"""Kinds of objects that the agent watches, and which of them, as the API server is asked for them."""

from lightkube import operators
from lightkube.core import resource

from sriov.apiserver import connection
from sriov_agent import objects


class _Services(objects.ServiceObject, resource.NamespacedResourceG, frozen=True, gc=True):
    _api_info = resource.ApiInfo(resource.ResourceDef("", "v1", "Service"), "services", ["global_list", "global_watch"])


class _Slices(objects.SliceObject, resource.NamespacedResourceG, frozen=True, gc=True):
    _api_info = resource.ApiInfo(
        resource.ResourceDef("discovery.k8s.io", "v1", "EndpointSlice"),
        "endpointslices",
        ["global_list", "global_watch"],
    )


class _Nodes(objects.NodeObject, resource.GlobalResource, frozen=True, gc=True):
    _api_info = resource.ApiInfo(resource.ResourceDef("", "v1", "Node"), "nodes", ["list", "watch"])


class _Ranges(objects.RangeObject, resource.GlobalResource, frozen=True, gc=True):
    _api_info = resource.ApiInfo(
        resource.ResourceDef("networking.k8s.io", "v1", "ServiceCIDR"), "servicecidrs", ["list", "watch"]
    )


# As kube-proxy asks (cmd/kube-proxy/app/server.go): what is another proxy's is not even sent.
_OURS = {
    "service.kubernetes.io/service-proxy-name": operators.not_exists(),
    "service.kubernetes.io/headless": operators.not_exists(),
}


def kinds(node: str) -> tuple[connection.WatchedKind, ...]:
    """Return what is watched for this node."""
    return (
        connection.WatchedKind("Service", objects.ServiceObject, _Services, labels=_OURS),
        connection.WatchedKind("EndpointSlice", objects.SliceObject, _Slices, labels=_OURS),
        connection.WatchedKind("Node", objects.NodeObject, _Nodes, fields={"metadata.name": node}),
        connection.WatchedKind("ServiceCIDR", objects.RangeObject, _Ranges, optional=True),
    )
