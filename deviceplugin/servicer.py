"""DevicePlugin service of one resource, over grpc.aio: answers the kubelet from the last snapshot.

It never looks at hardware and knows no sockets. ListAndWatch sends the whole list at once and again after each change,
to every open stream: an old kubelet's may linger beside the new one's. Nothing here takes time, since the kubelet sets
no deadline on Allocate and admits no pod meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn, Protocol

import grpc

from deviceplugin import allocation, device_files, registration
from sriov.daemon import logs
from sriov.kubelet._pb import deviceplugin_pb2 as pb
from sriov.kubelet._pb import deviceplugin_pb2_grpc as pb_grpc
from sriov.pools import assignment, preferences

log = logging.getLogger(__name__)


class _Context(Protocol):
    """The methods of grpc.aio.ServicerContext that are used."""

    async def write(self, message: object) -> None: ...
    async def abort(self, code: object, details: str) -> NoReturn: ...


class _AllocateRequest(Protocol):
    @property
    def container_requests(self) -> list["_ContainerAllocateRequest"]: ...


class _ContainerAllocateRequest(Protocol):
    @property
    def devices_ids(self) -> list[str]: ...


class _PreferredRequest(Protocol):
    @property
    def container_requests(self) -> list["_ContainerPreferredRequest"]: ...


class _ContainerPreferredRequest(Protocol):
    available_deviceIDs: list[str]  # noqa: N815
    must_include_deviceIDs: list[str]  # noqa: N815
    allocation_size: int


class _Stream:
    """One ListAndWatch. `news` wakes it, `over` ends it; `said` is the list that the kubelet got last."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.over = False
        self.said: object = None


class Servicer:
    """Serves one pool. Outlives the sockets it is served on, so that a new one starts with what is known.

    `streams_changed` is called when a ListAndWatch has begun or has ended, on either side; `refused` when an Allocate
    was refused, since the kubelet's view then differs from ours.
    """

    def __init__(
        self,
        pool: assignment.Pool,
        giver: device_files.Handout,
        streams_changed: Callable[[], None],
        refused: Callable[[], None],
    ) -> None:
        self.pool = pool
        self._giver = giver
        self._streams_changed = streams_changed
        self._refused = refused
        self._streams: set[_Stream] = set()
        self.opened = 0  # streams ever
        self.granted = self.denied = 0  # Allocates ever

    @property
    def streams(self) -> int:
        """Number of open ListAndWatch streams."""
        return len(self._streams)

    def publish(self, pool: assignment.Pool) -> bool:
        """Make this the snapshot; streams send it if its list differs. Returns whether it does."""
        new = pool.listing != self.pool.listing
        self.pool = pool
        for stream in self._streams if new else ():
            stream.news.set()
        return new

    @property
    def told(self) -> bool:
        """Whether every stream has sent the present list."""
        return all(stream.said == self.pool.listing for stream in self._streams)

    def end_streams(self) -> None:
        """End every open stream properly, so that the server need not cut any off."""
        for stream in self._streams:
            stream.over = True
            stream.news.set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to the server."""
        pb_grpc.add_DevicePluginServicer_to_server(self, server)

    async def GetDevicePluginOptions(self, request: object, context: _Context) -> object:  # noqa: ARG002, N802
        return registration.options()

    async def ListAndWatch(self, request: object, context: _Context) -> None:  # noqa: ARG002, N802
        logs.about(resource=self.pool.resource)
        stream = _Stream()
        self._streams.add(stream)
        self.opened += 1
        self._streams_changed()
        log.info("the kubelet watches %s", self.pool.resource)
        try:
            await self._tell(stream, context)
        finally:
            self._streams.discard(stream)
            log.info("the kubelet watches %s no more", self.pool.resource)
            self._streams_changed()

    async def _tell(self, stream: _Stream, context: _Context) -> None:
        while not stream.over:
            listing = self.pool.listing
            if listing != stream.said:
                await context.write(response(self.pool))
                stream.said = listing
            else:
                await stream.news.wait()
                stream.news.clear()

    async def Allocate(self, request: _AllocateRequest, context: _Context) -> object:  # noqa: N802
        logs.about(resource=self.pool.resource)
        asked = [list(container.devices_ids) for container in request.container_requests]
        try:
            answers = self._giver.allocate(self.pool, asked)
        except allocation.AllocationError as error:
            log.warning("refused to allocate: %s", error)
            self.denied += 1
            self._refused()
            code = grpc.StatusCode.FAILED_PRECONDITION if error.retryable else grpc.StatusCode.INVALID_ARGUMENT
            await context.abort(code, str(error))
        self.granted += 1
        log.info("allocated %s: %s", self.pool.resource, "; ".join(",".join(ids) for ids in asked))
        return pb.AllocateResponse(container_responses=[container(each) for each in answers])

    async def GetPreferredAllocation(self, request: _PreferredRequest, context: _Context) -> object:  # noqa: ARG002, N802
        chosen = [
            preferences.preferred(
                self.pool, each.available_deviceIDs, each.must_include_deviceIDs, each.allocation_size
            )
            for each in request.container_requests
        ]
        return pb.PreferredAllocationResponse(
            container_responses=[pb.ContainerPreferredAllocationResponse(deviceIDs=ids) for ids in chosen]
        )

    async def PreStartContainer(self, request: object, context: _Context) -> object:  # noqa: ARG002, N802
        return pb.PreStartContainerResponse()


def response(pool: assignment.Pool) -> object:
    """Return the pool as a ListAndWatchResponse. Without a NUMA node there is no topology, as -1 would be a node."""
    return pb.ListAndWatchResponse(devices=[_device(device) for device in pool.devices])


def _device(device: assignment.Device) -> object:
    if device.numa_node is None:
        return pb.Device(ID=device.id, health=device.health.value)
    nodes = pb.TopologyInfo(nodes=[pb.NUMANode(ID=device.numa_node)])
    return pb.Device(ID=device.id, health=device.health.value, topology=nodes)


def container(given: allocation.Answer) -> object:
    """Return the answer as a ContainerAllocateResponse."""
    return pb.ContainerAllocateResponse(
        envs=dict(given.envs),
        devices=[
            pb.DeviceSpec(container_path=node.container, host_path=node.host, permissions="rw") for node in given.nodes
        ],
        annotations=dict(given.annotations),
        cdi_devices=[pb.CDIDevice(name=name) for name in given.cdi_devices],
    )
