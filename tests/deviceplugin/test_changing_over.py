"""Another device plugin of the same resource ends, and ours takes its place: when a pod is lost, and how none is.

docs/migration.md has these orders. A pod that the kubelet refuses is lost for good: UnexpectedAdmissionError.
"""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator

import grpc
import pytest

from sriov.kubelet._pb import deviceplugin_pb2 as pb
from sriov.kubelet._pb import deviceplugin_pb2_grpc as pb_grpc
from tests.deviceplugin import loops, test_plugin
from tests.fakes import kubelet as fake

RAIL = "intel.com/first"
IDS = ["0000:01:10.0", "0000:01:10.2"]
CONFIG = [{"resourceName": "first", "selectors": {"pfNames": ["enp1s0#0-1"]}}]


class Former(pb_grpc.DevicePluginServicer):  # type: ignore[misc]
    """sriov-network-device-plugin, as far as a kubelet sees it: the same resource, devices and socket.

    It removes the path of its socket when it ends, whosever that is by then (its pkg/resources/server.go, cleanUp).
    """

    async def GetDevicePluginOptions(self, request: object, context: object) -> object:
        return pb.DevicePluginOptions()

    async def ListAndWatch(self, request: object, context: object) -> AsyncIterator[object]:
        yield pb.ListAndWatchResponse(devices=[pb.Device(ID=each, health="Healthy") for each in IDS])
        await asyncio.Event().wait()

    async def Allocate(self, request: pb.AllocateRequest, context: object) -> object:
        return pb.AllocateResponse(container_responses=[pb.ContainerAllocateResponse()])


@contextlib.asynccontextmanager
async def former(kubelet: fake.Kubelet) -> AsyncIterator[None]:
    """Registered while the context lasts."""
    path = kubelet.folder / "intel.com_first.sock"
    server = grpc.aio.server()
    pb_grpc.add_DevicePluginServicer_to_server(Former(), server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{kubelet.socket}") as channel:
            request = pb.RegisterRequest(version="v1beta1", endpoint=path.name, resource_name=RAIL)
            await pb_grpc.RegistrationStub(channel).Register(request)
        await kubelet.wait_for(RAIL, 2)
        yield
    finally:
        await server.stop(None)
        path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def prepared(root: pathlib.Path, *, keeps_older: bool) -> AsyncIterator[test_plugin.Node]:
    """A node whose device plugin is not running yet, and a kubelet."""
    node = test_plugin.Node(root, 60.0, CONFIG)
    node.kubelet = fake.Kubelet(root / "kubelet", keeps_older=keeps_older)
    await node.kubelet.start()
    try:
        yield node
    finally:
        await node.kubelet.stop()


@pytest.mark.parametrize("keeps_older", [False, True])
def test_a_pod_between_the_two_is_lost_and_one_after_them_is_not(tmp_path: pathlib.Path, keeps_older: bool) -> None:
    """The page's steps: the node is cordoned, so that no pod comes in between. A pod that runs keeps its device."""

    async def body() -> None:
        async with prepared(tmp_path, keeps_older=keeps_older) as node:
            async with former(node.kubelet):
                await node.kubelet.allocate("runs", RAIL, 1)
            await node.kubelet.wait_for(RAIL, 0)
            with pytest.raises(LookupError, match="has 0 free devices"):
                await node.kubelet.allocate("between", RAIL, 1)
            async with loops.running(node.plugin.run()):
                await node.kubelet.wait_for(RAIL, 2)
                await node.kubelet.allocate("after", RAIL, 1)
                assert node.kubelet.pods == {"runs": {RAIL: IDS[:1]}, "after": {RAIL: IDS[1:]}}

    loops.run(body(), timeout=60)


def test_ours_beside_the_former_one_loses_a_pod_when_that_ends(tmp_path: pathlib.Path) -> None:
    """The end of the former one's stream counts against ours, which registers again: a pod in between is lost."""

    async def body() -> None:
        async with prepared(tmp_path, keeps_older=True) as node, contextlib.AsyncExitStack() as still:
            await still.enter_async_context(former(node.kubelet))
            async with loops.running(node.plugin.run()):
                await node.kubelet.wait_until(lambda: node.kubelet.registrations == [RAIL, RAIL])
                await node.kubelet.wait_for(RAIL, 2)
                await still.aclose()
                await node.kubelet.wait_for(RAIL, 0)
                with pytest.raises(LookupError, match="has 0 free devices"):
                    await node.kubelet.allocate("between", RAIL, 1)
                await node.kubelet.wait_for(RAIL, 2)
                assert node.kubelet.registrations == [RAIL, RAIL, RAIL]
                await node.kubelet.allocate("after", RAIL, 1)

    loops.run(body(), timeout=60)
