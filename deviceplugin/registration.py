"""Registration with the kubelet, in one of two ways, which the operator chooses.

Direct: we call Register on the kubelet's socket (pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go). Watched: our
socket is in a folder that the kubelet watches, and it calls us (pkg/kubelet/pluginmanager), also after its restart.
"""

import pathlib
import urllib.parse
from typing import Protocol

import grpc

from sriov.kubelet import plugin_directory, plugin_registration
from sriov.kubelet._pb import deviceplugin_pb2 as pb
from sriov.kubelet._pb import deviceplugin_pb2_grpc as pb_grpc

# Without this, gRPC's event loop side is torn down when the last server and channel are collected, and that never ends
# while a call is still being given up (grpc/grpc issue 22365, pull request 40989): the whole plugin would hang.
grpc.aio.init_grpc_aio()

VERSION = "v1beta1"
SOCKET = "kubelet.sock"

# A channel of its own: a shared one would remember how long the last kubelet was away, and reconnect that much later.
_CHANNEL = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


class Registrar(Protocol):
    """One way. `folder` is where our sockets go. `grace` is seconds in which the kubelet reopens a lost stream."""

    folder: pathlib.Path
    grace: float

    def kubelet(self) -> plugin_directory.Identity | None:
        """Return an identity that changes with the kubelet; None if there is none."""

    async def introduce(self, resource: str, endpoint: str, timeout: float) -> None:
        """Wait until the kubelet knows the resource. Raises RefusedError."""

    def add_to(self, server: grpc.aio.Server, resource: str) -> None:
        """Add the service that the kubelet calls before it knows us."""


class Direct:
    """Registration through kubelet.sock; the kubelet never reopens a stream that it has lost."""

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
                raise plugin_registration.RefusedError(f"{error.code().name}: {error.details()}") from error

    def add_to(self, server: grpc.aio.Server, resource: str) -> None:
        """Add nothing: the kubelet calls nothing before the registration."""


class Watched:
    """Registration through plugins_registry; a restarted kubelet dials every socket there again."""

    grace = 2.0

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._services: dict[str, plugin_registration.RegistrationService] = {}

    def kubelet(self) -> plugin_directory.Identity | None:
        """Return the folder's identity: nothing shows the kubelet itself."""
        try:
            found = self.folder.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino, 0)

    async def introduce(self, resource: str, endpoint: str, timeout: float) -> None:  # noqa: ARG002
        """Wait without end: the kubelet may be away, and it needs nothing but the socket."""
        await self._services[resource].accepted()

    def add_to(self, server: grpc.aio.Server, resource: str) -> None:
        plugin = plugin_registration.PluginInfo("DevicePlugin", resource, (VERSION,))
        self._services[resource] = plugin_registration.RegistrationService(plugin)
        self._services[resource].add_to(server)


def options() -> object:
    """Return the optional calls that we implement."""
    return pb.DevicePluginOptions(get_preferred_allocation_available=True)


def address(path: pathlib.Path) -> str:
    """Return a unix socket's address in gRPC's form."""
    return f"unix:{urllib.parse.quote(str(path))}"
