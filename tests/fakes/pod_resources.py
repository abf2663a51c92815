"""PodResources API of the kubelet, as a real gRPC server on a unix socket, in a thread."""

import asyncio
import contextlib
import dataclasses
import pathlib
import threading
from collections.abc import Iterator

import grpc

from sriov.kubelet._pb import podresources_pb2 as pb
from sriov.kubelet._pb import podresources_pb2_grpc as pb_grpc


@dataclasses.dataclass(slots=True)
class PodResources(pb_grpc.PodResourcesListerServicer):  # type: ignore[misc]
    """`pods`: (namespace, name) to its containers, each a list of (resource, device IDs). `refusals` come first.

    `known`: the healthy devices of each resource that has registered.
    """

    pods: dict[tuple[str, str], list[list[tuple[str, list[str]]]]]
    known: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    refusals: int = 0
    calls: int = 0
    claims: dict[tuple[str, str], list[str]] = dataclasses.field(default_factory=dict)
    """(namespace, name) of pods to the ResourceClaims of their container."""

    async def List(
        self, request: pb.ListPodResourcesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListPodResourcesResponse:
        self.calls += 1
        if self.calls <= self.refusals:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
        pods = [
            pb.PodResources(
                namespace=namespace,
                name=name,
                containers=[
                    pb.ContainerResources(
                        devices=[pb.ContainerDevices(resource_name=each, device_ids=ids) for each, ids in container]
                    )
                    for container in containers
                ],
            )
            for (namespace, name), containers in self.pods.items()
        ]
        pods += [
            pb.PodResources(namespace=namespace, name=name, containers=[_with_claims(namespace, claims)])
            for (namespace, name), claims in self.claims.items()
        ]
        return pb.ListPodResourcesResponse(pod_resources=pods)

    async def GetAllocatableResources(
        self, request: pb.AllocatableResourcesRequest, context: grpc.aio.ServicerContext
    ) -> pb.AllocatableResourcesResponse:
        """Return one entry for each device; the kubelet has one for each NUMA node."""
        entries = [(name, one) for name, ids in self.known.items() for one in ids]
        return pb.AllocatableResourcesResponse(
            devices=[pb.ContainerDevices(resource_name=name, device_ids=[one]) for name, one in entries]
        )


def _with_claims(namespace: str, claims: list[str]) -> pb.ContainerResources:
    used = [pb.DynamicResource(claim_name=each, claim_namespace=namespace) for each in claims]
    return pb.ContainerResources(dynamic_resources=used)


@contextlib.contextmanager
def serving(path: pathlib.Path, api: PodResources) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    stop, ready = asyncio.Event(), threading.Event()

    async def serve() -> None:
        server = grpc.aio.server()
        pb_grpc.add_PodResourcesListerServicer_to_server(api, server)
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        ready.set()
        await stop.wait()
        await server.stop(None)

    def run() -> None:
        loop.run_until_complete(serve())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
