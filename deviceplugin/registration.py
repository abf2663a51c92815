"""The two ways in which a kubelet gets to know a device plugin. Which one is used is the operator's choice.

Direct: we call Register on the kubelet's socket (pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go). Watched: our
socket lies in a folder that the kubelet watches, it calls us (pkg/kubelet/pluginmanager), also after its restart.
"""

import asyncio
import pathlib
import urllib.parse
from typing import Protocol

import grpc

from sriov.kubelet import plugin_directory
from sriov.kubelet._pb import deviceplugin_pb2 as pb
from sriov.kubelet._pb import deviceplugin_pb2_grpc as pb_grpc
from sriov.kubelet._pb import pluginregistration_pb2 as watched_pb
from sriov.kubelet._pb import pluginregistration_pb2_grpc as watched_grpc

# Else gRPC's event loop side is torn down when the last server and channel are collected, which has no end where a call
# is still being given up (grpc/grpc issue 22365, pull request 40989): the whole plugin would wait for it.
grpc.aio.init_grpc_aio()

VERSION = "v1beta1"
SOCKET = "kubelet.sock"

# A channel of its own: a shared one would remember how long the last kubelet was away before it connects again.
_CHANNEL = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


class Door(Protocol):
    """`folder` is where our sockets go. `grace` is in seconds: how soon the kubelet comes back to a lost stream."""

    folder: pathlib.Path
    grace: float

    def kubelet(self) -> plugin_directory.Identity | None:
        """What stands for the kubelet, None where there is none; another one is another kubelet."""

    async def introduce(self, resource: str, endpoint: str, timeout: float) -> None:
        """Returns once the kubelet knows the resource. Raises RefusedError."""

    def add_to(self, server: grpc.aio.Server, resource: str) -> None:
        """Serve what the kubelet asks before it knows us."""


class RefusedError(Exception):
    """The kubelet does not take us."""


class Direct:
    """Through kubelet.sock; the kubelet never comes back to a stream that it has lost."""

    grace = 0.0

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._socket = folder / SOCKET

    def kubelet(self) -> plugin_directory.Identity | None:
        return plugin_directory.identity(self._socket)

    async def introduce(self, resource: str, endpoint: str, timeout: float) -> None:
        request = pb.RegisterRequest(version=VERSION, endpoint=endpoint, resource_name=resource, options=options())
        async with grpc.aio.insecure_channel(address(self._socket), options=_CHANNEL) as channel:
            try:
                await pb_grpc.RegistrationStub(channel).Register(request, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                raise RefusedError(f"{error.code().name}: {error.details()}") from error

    def add_to(self, server: grpc.aio.Server, resource: str) -> None:
        """Nothing: the kubelet asks nothing before."""


class Watched:
    """Through plugins_registry; a kubelet that restarts dials every socket there again."""

    grace = 2.0

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._verdicts: dict[str, asyncio.Future[None]] = {}

    def kubelet(self) -> plugin_directory.Identity | None:
        """The folder's: of the kubelet itself nothing shows."""
        try:
            found = self.folder.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino, 0)

    async def introduce(self, resource: str, endpoint: str, timeout: float) -> None:  # noqa: ARG002
        """Waits without an end: the kubelet may be away, and the socket is all that it needs."""
        await self._verdict(resource)

    def add_to(self, server: grpc.aio.Server, resource: str) -> None:
        self._verdicts[resource] = asyncio.get_running_loop().create_future()
        watched_grpc.add_RegistrationServicer_to_server(_Registration(resource, self._verdict(resource)), server)

    def _verdict(self, resource: str) -> asyncio.Future[None]:
        return self._verdicts[resource]


class _Registration:
    """pluginregistration.v1, for one resource. `verdict` gets the first answer of the kubelet."""

    def __init__(self, resource: str, verdict: asyncio.Future[None]) -> None:
        self._resource = resource
        self._verdict = verdict

    async def GetInfo(self, request: object, context: object) -> object:  # noqa: ARG002, N802
        """No endpoint means this very socket, wherever its folder is mounted."""
        return watched_pb.PluginInfo(type="DevicePlugin", name=self._resource, supported_versions=[VERSION])

    async def NotifyRegistrationStatus(self, request: "_Status", context: object) -> object:  # noqa: ARG002, N802
        if not self._verdict.done():
            if request.plugin_registered:
                self._verdict.set_result(None)
            else:
                self._verdict.set_exception(RefusedError(request.error))
        return watched_pb.RegistrationStatusResponse()


class _Status(Protocol):
    plugin_registered: bool
    error: str


def options() -> object:
    """What we do of what is optional."""
    return pb.DevicePluginOptions(get_preferred_allocation_available=True)


def address(path: pathlib.Path) -> str:
    """A unix socket as gRPC names it."""
    return f"unix:{urllib.parse.quote(str(path))}"
