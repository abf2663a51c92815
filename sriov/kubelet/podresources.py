"""PodResources API of the kubelet: the devices it gave to each pod. For networks without Multus, and for people.

Without Multus no deviceID is filled into a network's configuration. The API reports what a pod holds, and not which
interface is to have which device; the order decides that: containers as the pod lists them, devices by PCI address.
Source: kubernetes/kubelet pkg/apis/podresources/v1. Importing this module imports grpc.
"""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar

import grpc
import msgspec

from sriov import devices, errors
from sriov.kubelet._pb import podresources_pb2, podresources_pb2_grpc

# Without this the end of the last channel would tear down gRPC's event loop side, which may take for ever and hang the
# daemon (grpc/grpc issue 22365, pull request 40989).
grpc.aio.init_grpc_aio()

# A node's whole list in one message; 16 MiB is what Multus allows too.
_OPTIONS = (("grpc.max_receive_message_length", 16 << 20), ("grpc.use_local_subchannel_pool", 1))
_TIMEOUT = 10.0  # seconds
_TRIES = 5  # the kubelet answers 100 requests a second and refuses the rest
_PAUSE = 0.2  # seconds

_T = TypeVar("_T")


class Given(msgspec.Struct, frozen=True):
    """Devices that one container was given of one resource; the IDs are its device plugin's own."""

    container: str
    resource: str
    ids: tuple[str, ...]


class Pod(msgspec.Struct, frozen=True):
    """A pod that the kubelet runs, or has just run."""

    namespace: str
    name: str
    given: tuple[Given, ...] = ()

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


async def pods(kubelet: pathlib.Path) -> tuple[Pod, ...]:
    """List every pod of the node, also without devices. Raises BusyError if the kubelet does not answer."""
    async with _connected(kubelet) as stub:
        listed = await _list(stub, kubelet)
    return tuple(
        Pod(
            pod.namespace,
            pod.name,
            tuple(
                Given(container.name, each.resource_name, tuple(each.device_ids))
                for container in pod.containers
                for each in container.devices
            ),
        )
        for pod in listed.pod_resources
    )


async def allocatable(kubelet: pathlib.Path) -> Mapping[str, tuple[str, ...]]:
    """Return the healthy devices of each resource, as the kubelet knows them, free or not.

    Raises BusyError if the kubelet does not answer.
    """
    async with _connected(kubelet) as stub:
        request = podresources_pb2.AllocatableResourcesRequest()
        told = await _insist(lambda: stub.GetAllocatableResources(request, timeout=_TIMEOUT), kubelet)
    found: dict[str, tuple[str, ...]] = {}
    for each in told.devices:  # one entry for each NUMA node
        found[each.resource_name] = (*found.get(each.resource_name, ()), *each.device_ids)
    return found


async def devices_of(kubelet: pathlib.Path, namespace: str, pod: str, resource: str) -> tuple[devices.PciAddress, ...]:
    """Return the PCI addresses of `resource` (prefix/name) that this pod holds, each once.

    Raises BusyError if the kubelet does not answer, DeviceError if a device is no PCI device.
    """
    async with _connected(kubelet) as stub:
        listed = await _list(stub, kubelet)
    ids: list[str] = []
    for found in listed.pod_resources:
        if (found.namespace, found.name) == (namespace, pod):
            for container in found.containers:
                given = [each for each in container.devices if each.resource_name == resource]
                # One resource may come in several entries, one for each NUMA node.
                ids += sorted(device for each in given for device in each.device_ids)
    return tuple(devices.pci_address(each) for each in dict.fromkeys(ids))


async def claims_of(kubelet: pathlib.Path, namespace: str, pod: str) -> frozenset[str]:
    """Return the names of the ResourceClaims that this pod's containers use. Raises BusyError if it does not answer."""
    async with _connected(kubelet) as stub:
        listed = await _list(stub, kubelet)
    return frozenset(
        each.claim_name
        for found in listed.pod_resources
        if (found.namespace, found.name) == (namespace, pod)
        for container in found.containers
        for each in container.dynamic_resources
    )


@contextlib.asynccontextmanager
async def _connected(kubelet: pathlib.Path) -> AsyncIterator[podresources_pb2_grpc.PodResourcesListerStub]:
    async with grpc.aio.insecure_channel(f"unix:{kubelet}", options=_OPTIONS) as channel:
        yield podresources_pb2_grpc.PodResourcesListerStub(channel)


async def _list(
    stub: podresources_pb2_grpc.PodResourcesListerStub, kubelet: pathlib.Path
) -> podresources_pb2.ListPodResourcesResponse:
    request = podresources_pb2.ListPodResourcesRequest()
    return await _insist(lambda: stub.List(request, timeout=_TIMEOUT), kubelet)


async def _insist(ask: Callable[[], Awaitable[_T]], kubelet: pathlib.Path) -> _T:
    for number in range(1, _TRIES + 1):
        try:
            return await ask()
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or number == _TRIES:
                raise errors.BusyError(
                    f"the kubelet's PodResources API at {kubelet} does not answer: {error.code().name}",
                    "is the kubelet running?",
                ) from error
        await asyncio.sleep(_PAUSE * number)
    raise AssertionError("unreachable")
