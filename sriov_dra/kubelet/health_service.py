"""Service DRAResourceHealth for the kubelet, in both versions: the health of every device, as a stream.

Each message has the whole list. The kubelet takes a device of which it has heard nothing for 30 s as unknown, so the
list is sent again in between (kubernetes staging/src/k8s.io/kubelet/pkg/apis/dra-health, pkg/kubelet/cm/dra).
"""

import asyncio
import contextlib
import time
from types import ModuleType
from typing import Protocol

import grpc

from sriov.kubelet._pb import drahealthv1_pb2, drahealthv1_pb2_grpc, drahealthv1alpha1_pb2, drahealthv1alpha1_pb2_grpc
from sriov_dra import snapshot

VERSIONS = ("v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth")
_AGAIN = 15.0  # seconds
_LONGEST = 1024  # characters of a message


class _Context(Protocol):
    async def write(self, message: object) -> None: ...


class HealthBoard:
    """The present snapshot for all streams. For one event loop."""

    def __init__(self, again: float = _AGAIN) -> None:
        self._again = again
        self._changed = asyncio.Event()
        self.latest: snapshot.NodeSnapshot | None = None
        self.over = False

    def show(self, latest: snapshot.NodeSnapshot) -> None:
        self.latest = latest
        self._wake()

    def end(self) -> None:
        """End all streams."""
        self.over = True
        self._wake()

    async def news(self, told: snapshot.NodeSnapshot | None) -> None:
        """Wait until there is another snapshot than the one that was told, or it is time to send that again."""
        if self.over or self.latest is not told:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._again):
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class HealthService:
    """One version of the service; `pb` has its messages."""

    def __init__(self, board: HealthBoard, pb: ModuleType) -> None:
        self._board, self._pb = board, pb

    async def NodeWatchResources(self, request: object, context: _Context) -> None:  # noqa: ARG002, N802
        while not self._board.over:
            latest = self._board.latest
            if latest is not None:
                await context.write(self._list(latest))
            await self._board.news(latest)

    def _list(self, latest: snapshot.NodeSnapshot) -> object:
        now = int(time.time())
        return self._pb.NodeWatchResourcesResponse(
            devices=[self._device(latest, pool, name, now) for pool, name in latest.devices]
        )

    def _device(self, latest: snapshot.NodeSnapshot, pool: str, name: str, now: int) -> object:
        ailments = latest.ailments(pool, latest.devices[pool, name])
        text = "; ".join(f"it {each.text}" for each in ailments)[:_LONGEST]
        health = self._pb.HealthStatus.Value("UNHEALTHY" if ailments else "HEALTHY")
        device = self._pb.DeviceIdentifier(pool_name=pool, device_name=name)
        return self._pb.DeviceHealth(device=device, health=health, last_updated_time=now, message=text)


def add_to(server: grpc.aio.Server, board: HealthBoard) -> None:
    drahealthv1_pb2_grpc.add_DRAResourceHealthServicer_to_server(HealthService(board, drahealthv1_pb2), server)
    drahealthv1alpha1_pb2_grpc.add_DRAResourceHealthServicer_to_server(
        HealthService(board, drahealthv1alpha1_pb2), server
    )
