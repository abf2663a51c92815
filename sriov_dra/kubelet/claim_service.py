"""Service DRAPlugin for the kubelet, in both versions of its interface: v1 (from 1.34) and v1beta1 (from 1.32).

Each claim has its own answer: one that cannot be prepared keeps no other from it. Sources: kubernetes
staging/src/k8s.io/kubelet/pkg/apis/dra and pkg/kubelet/cm/dra.
"""

import asyncio
import logging
from types import ModuleType
from typing import Protocol

import grpc

from sriov import errors
from sriov.daemon import logs
from sriov.kubelet._pb import drav1_pb2, drav1_pb2_grpc, drav1beta1_pb2, drav1beta1_pb2_grpc
from sriov_dra.claims import preparing

_log = logging.getLogger(__name__)

VERSIONS = ("v1.DRAPlugin", "v1beta1.DRAPlugin")


class _Claim(Protocol):
    namespace: str
    name: str
    uid: str


class _Request(Protocol):
    @property
    def claims(self) -> list[_Claim]: ...


class ClaimService:
    """One version of the service; `pb` has its messages."""

    def __init__(self, preparer: preparing.Preparer, pb: ModuleType) -> None:
        self._preparer, self._pb = preparer, pb

    async def NodePrepareResources(self, request: _Request, context: object) -> object:  # noqa: ARG002, N802
        """All claims of a pod at once: as many GETs wait for the API server beside one another."""
        answers = await asyncio.gather(*(asyncio.create_task(self._prepare(each)) for each in request.claims))
        named = {each.uid: answer for each, answer in zip(request.claims, answers, strict=True)}
        return self._pb.NodePrepareResourcesResponse(claims=named)

    async def NodeUnprepareResources(self, request: _Request, context: object) -> object:  # noqa: ARG002, N802
        named = {each.uid: await asyncio.create_task(self._unprepare(each)) for each in request.claims}
        return self._pb.NodeUnprepareResourcesResponse(claims=named)

    async def _prepare(self, claim: _Claim) -> object:
        logs.about(claim=str(_reference(claim)))
        try:
            answers = await self._preparer.prepare(_reference(claim))
        except Exception as error:
            return self._pb.NodePrepareResourceResponse(error=_told(claim, "cannot prepare", error))
        return self._pb.NodePrepareResourceResponse(devices=[self._device(each) for each in answers])

    async def _unprepare(self, claim: _Claim) -> object:
        logs.about(claim=str(_reference(claim)))
        try:
            self._preparer.unprepare(_reference(claim))
        except Exception as error:
            return self._pb.NodeUnprepareResourceResponse(error=_told(claim, "cannot unprepare yet", error))
        return self._pb.NodeUnprepareResourceResponse()

    def _device(self, one: preparing.PreparedAnswer) -> object:
        told = self._pb.Device(
            request_names=[one.request], pool_name=one.pool, device_name=one.device, cdi_device_ids=one.cdi
        )
        if one.share is not None and "share_id" in told.DESCRIPTOR.fields_by_name:
            told.share_id = one.share
        return told


def _told(claim: _Claim, what: str, error: Exception) -> str:
    """Log why, and return it for the kubelet: one claim's failure keeps no other from its answer."""
    if isinstance(error, errors.SriovError):
        _log.warning("claim %s: %s: %s", _reference(claim), what, error)
        return str(error)
    _log.error("claim %s: an unexpected failure", _reference(claim), exc_info=error)
    return f"unexpected {type(error).__name__}: {error}"


def add_to(server: grpc.aio.Server, preparer: preparing.Preparer) -> None:
    drav1_pb2_grpc.add_DRAPluginServicer_to_server(ClaimService(preparer, drav1_pb2), server)
    drav1beta1_pb2_grpc.add_DRAPluginServicer_to_server(ClaimService(preparer, drav1beta1_pb2), server)


def _reference(claim: _Claim) -> preparing.ClaimReference:
    return preparing.ClaimReference(claim.namespace, claim.name, claim.uid)
