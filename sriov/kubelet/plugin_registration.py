"""Registration of a plugin whose socket the kubelet finds in its folder plugins_registry: the kubelet calls us.

Each plugin's server has the service pluginregistration.v1 on that socket: the kubelet asks what the plugin is, and
reports whether it takes it, also after its own restart. Source: pkg/kubelet/pluginmanager and
k8s.io/kubelet/pkg/apis/pluginregistration/v1/api.proto. Importing this module imports grpc.
"""

import asyncio
from typing import Protocol

import grpc
import msgspec

from sriov.kubelet._pb import pluginregistration_pb2 as pb
from sriov.kubelet._pb import pluginregistration_pb2_grpc as pb_grpc


class RefusedError(Exception):
    """The kubelet refuses the registration."""


class PluginInfo(msgspec.Struct, frozen=True):
    """One plugin as the kubelet is told of it: `kind` is its type, as "DevicePlugin"; `versions` those of its API.

    `name` is a resource for a device plugin, and the driver's name for a DRA driver. An empty `endpoint` means the
    socket itself that the kubelet found, wherever its folder is mounted.
    """

    kind: str
    name: str
    versions: tuple[str, ...]
    endpoint: str = ""


class RegistrationService:
    """Service pluginregistration.v1 for one plugin. Belongs to the event loop in which it is made."""

    def __init__(self, plugin: PluginInfo) -> None:
        self._plugin = plugin
        self._verdict: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add_to(self, server: grpc.aio.Server) -> None:
        pb_grpc.add_RegistrationServicer_to_server(self, server)

    async def accepted(self) -> None:
        """Wait for the kubelet's first answer, which may take until there is one. Raises RefusedError."""
        await self._verdict

    async def GetInfo(self, request: object, context: object) -> object:  # noqa: ARG002, N802
        plugin = self._plugin
        return pb.PluginInfo(
            type=plugin.kind, name=plugin.name, endpoint=plugin.endpoint, supported_versions=plugin.versions
        )

    async def NotifyRegistrationStatus(self, request: "_Status", context: object) -> object:  # noqa: ARG002, N802
        if not self._verdict.done():
            if request.plugin_registered:
                self._verdict.set_result(None)
            else:
                self._verdict.set_exception(RefusedError(request.error))
        return pb.RegistrationStatusResponse()


class _Status(Protocol):
    plugin_registered: bool
    error: str
