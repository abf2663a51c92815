"""Sockets of the driver, and its registration with the kubelet through plugins_registry.

The node's socket listens before the registration's appears, since the kubelet dials it inside the registration. With
the pod's UID in both names the driver of a rolling update has sockets of its own beside its predecessor's
(kubernetes staging/src/k8s.io/dynamic-resource-allocation/kubeletplugin, RollingUpdate). A restarted kubelet finds the
registration's socket by itself, and dials it again.
"""

import asyncio
import contextlib
import logging
import os
import pathlib
import urllib.parse
from collections.abc import AsyncIterator, Callable

import grpc
import msgspec

from sriov import errors
from sriov.daemon import unix_sockets
from sriov.kubelet import names, plugin_directory, plugin_registration
from sriov_dra.claims import preparing
from sriov_dra.kubelet import claim_service, health_service

_log = logging.getLogger(__name__)

# Without this, gRPC's event loop side is torn down when the last server is collected (grpc/grpc issue 22365).
grpc.aio.init_grpc_aio()

_STOP = 0.5  # seconds for calls that run


class DriverSockets(msgspec.Struct, frozen=True):
    """Where the driver listens: for the kubelet's calls, and for its plugin watcher."""

    node: pathlib.Path
    registration: pathlib.Path


def sockets(root: pathlib.Path, driver: str, pod_uid: str = "") -> DriverSockets:
    """Return the sockets below the kubelet's folder. Raises SriovError if their paths are too long."""
    own = f"-{pod_uid}" if pod_uid else ""
    found = DriverSockets(
        root / "plugins" / driver / f"dra{own}.sock", root / "plugins_registry" / f"{driver}{own}-reg.sock"
    )
    for path in (found.node, found.registration):
        hidden = len(os.fsencode(path)) + 1
        if hidden > names.PATH_MAX:
            raise errors.SriovError(
                f"{path} is too long for a socket: its path holds {names.PATH_MAX} bytes",
                "give a shorter driver's name",
            )
    return found


class DriverService:
    """Serves both sockets until cancelled, and again if one of them is lost. `known`: a kubelet has accepted us."""

    def __init__(
        self,
        driver: str,
        where: DriverSockets,
        preparer: preparing.Preparer,
        board: health_service.HealthBoard,
        look: float = 1.0,
    ) -> None:
        self._driver, self._where, self._preparer, self._board, self._look = driver, where, preparer, board, look
        self.known = False
        self.problem = "the kubelet has not registered the driver yet"

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError, RefusedError, RuntimeError if that is impossible."""
        while True:
            await self._until_sockets_are_lost()

    async def _until_sockets_are_lost(self) -> None:
        plugin = plugin_registration.PluginInfo(
            "DRAPlugin", self._driver, (*claim_service.VERSIONS, *health_service.VERSIONS), str(self._where.node)
        )
        registration = plugin_registration.RegistrationService(plugin)
        try:
            async with (
                _served(self._where.node, self._add_to) as node,
                _served(self._where.registration, registration.add_to) as watched,
            ):
                accepting = asyncio.create_task(self._accepted(registration))
                try:
                    await self._until_lost(node, watched, accepting)
                finally:
                    accepting.cancel()
        finally:
            self.known = False

    def _add_to(self, server: grpc.aio.Server) -> None:
        claim_service.add_to(server, self._preparer)
        health_service.add_to(server, self._board)

    async def _accepted(self, registration: plugin_registration.RegistrationService) -> None:
        await registration.accepted()
        self.known, self.problem = True, ""
        _log.info("the kubelet has registered %s", self._driver)

    async def _until_lost(
        self, node: plugin_directory.Identity, watched: plugin_directory.Identity, accepting: asyncio.Task[None]
    ) -> None:
        paths = {self._where.node: node, self._where.registration: watched}
        while all(plugin_directory.identity(path) == own for path, own in paths.items()):
            if accepting.done():
                accepting.result()
            await asyncio.sleep(self._look)
        self.problem = f"a socket of {self._driver} was removed or replaced"
        _log.warning("%s; serving again", self.problem)


@contextlib.asynccontextmanager
async def _served(
    path: pathlib.Path, add_to: Callable[[grpc.aio.Server], None]
) -> AsyncIterator[plugin_directory.Identity]:
    """Serve on a socket that is complete, and usable only by root, before it gets its name. The kubelet's watcher
    passes over names that begin with a dot."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    if unix_sockets.is_blocked(path):
        raise FileExistsError(f"{path} exists and is not a socket; remove it")
    hidden = path.with_name(f".{path.name}")
    server = grpc.aio.server()
    add_to(server)
    own = None
    try:
        with unix_sockets.for_the_owner_alone():
            server.add_insecure_port(f"unix:{urllib.parse.quote(str(hidden))}")
        await server.start()
        own = plugin_directory.identity(hidden)
        hidden.rename(path)
        if own is None:
            raise FileNotFoundError(f"{hidden} was removed")
        yield own
    finally:
        if own is not None and plugin_directory.identity(path) == own:
            path.unlink(missing_ok=True)
        stopping = asyncio.ensure_future(server.stop(_STOP))
        await asyncio.wait({stopping})
