"""Kinds of objects that the DRA driver reads and writes, as the API server is asked for them."""

from collections.abc import Mapping
from typing import Any

from lightkube.core import resource

from sriov.apiserver import connection
from sriov_dra.claims import claim_objects
from sriov_dra.publishing import slice_objects

_DRA = ("resource.k8s.io", "v1")


class ResourceSlice(slice_objects.DeviceSlice, resource.GlobalResource, frozen=True, gc=True):
    _api_info = resource.ApiInfo(
        resource.ResourceDef(*_DRA, "ResourceSlice"),
        "resourceslices",
        ["list", "watch", "post", "put", "delete"],
    )


class ResourceClaim(claim_objects.ClaimObject, resource.NamespacedResourceG, frozen=True, gc=True):
    _api_info = resource.ApiInfo(resource.ResourceDef(*_DRA, "ResourceClaim"), "resourceclaims", ["get"])


class ResourceClaimStatus(claim_objects.ClaimObject, resource.NamespacedSubResource, frozen=True, gc=True):
    _api_info = resource.ApiInfo(
        resource.ResourceDef(*_DRA, "ResourceClaim"),
        "resourceclaims",
        ["patch"],
        parent=resource.ResourceDef(*_DRA, "ResourceClaim"),
        action="status",
    )


class PublishingNode(claim_objects.OwnNode, resource.GlobalResource, frozen=True, gc=True):
    _api_info = resource.ApiInfo(resource.ResourceDef("", "v1", "Node"), "nodes", ["get"])


def slices(driver: str, node: str) -> connection.WatchedKind:
    """Return what is watched: the driver's own slices of this node. Both are field selectors of resource.k8s.io/v1."""
    return connection.WatchedKind(
        "ResourceSlice",
        slice_objects.DeviceSlice,
        "resourceslices",
        _DRA[0],
        is_namespaced=False,
        fields={"spec.driver": driver, "spec.nodeName": node},
    )


def _as_slice(wanted: slice_objects.DeviceSlice) -> ResourceSlice:
    return ResourceSlice(wanted.metadata, wanted.spec)


class DraServer:
    """What the driver asks of the API server: slices and status written, claims and its node read. All raise
    FailedError."""

    def __init__(self, server: connection.ApiServer) -> None:
        self._server = server

    async def create(self, wanted: slice_objects.DeviceSlice) -> slice_objects.DeviceSlice:
        return await self._server.create(_as_slice(wanted))

    async def replace(self, wanted: slice_objects.DeviceSlice) -> slice_objects.DeviceSlice:
        return await self._server.replace(_as_slice(wanted), wanted.metadata.name)

    async def delete(self, name: str) -> None:
        await self._server.delete(ResourceSlice, name)

    async def claim(self, namespace: str, name: str) -> claim_objects.ClaimObject:
        return await self._server.read(ResourceClaim, name, namespace)

    async def apply_status(self, claim: claim_objects.ClaimMetadata, status: Mapping[str, Any], manager: str) -> None:
        """The UID in it makes the server refuse a claim that was made again under the name (InvalidError)."""
        metadata = {"name": claim.name, "namespace": claim.namespace, "uid": claim.uid}
        fields = {"metadata": metadata, "status": status}
        await self._server.apply(ResourceClaimStatus, claim.name, claim.namespace, fields, manager)

    async def node_uid(self, name: str) -> str:
        return (await self._server.read(PublishingNode, name)).metadata.uid
