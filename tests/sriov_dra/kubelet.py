"""Stand-in for the kubelet's DRA manager: registers drivers that its plugin watcher finds, prepares and unprepares.

As the real one (kubernetes pkg/kubelet/pluginmanager, pkg/kubelet/cm/dra): it takes the first version of our list that
it knows, reads the claim and checks that the pod is in `reservedFor`, sends all claims of a pod that are not prepared
in one call, and tries again what was refused. A claim that is prepared for one pod is not prepared for a second. After
a restart nothing is prepared, and the node's slices are gone.
"""

import asyncio
import contextlib
import pathlib
import stat
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import grpc

from sriov.kubelet._pb import (
    drahealthv1_pb2,
    drahealthv1_pb2_grpc,
    drahealthv1alpha1_pb2,
    drahealthv1alpha1_pb2_grpc,
    drav1_pb2,
    drav1_pb2_grpc,
    drav1beta1_pb2,
    drav1beta1_pb2_grpc,
    pluginregistration_pb2,
    pluginregistration_pb2_grpc,
)
from tests.deviceplugin import loops
from tests.sriov_dra.apiserver import ApiServer

grpc.aio.init_grpc_aio()

_SERVICES: dict[str, tuple[ModuleType, Any]] = {
    "v1.DRAPlugin": (drav1_pb2, drav1_pb2_grpc.DRAPluginStub),
    "v1beta1.DRAPlugin": (drav1beta1_pb2, drav1beta1_pb2_grpc.DRAPluginStub),
    "v1.DRAResourceHealth": (drahealthv1_pb2, drahealthv1_pb2_grpc.DRAResourceHealthStub),
    "v1alpha1.DRAResourceHealth": (drahealthv1alpha1_pb2, drahealthv1alpha1_pb2_grpc.DRAResourceHealthStub),
}
NEW = tuple(_SERVICES)
OLD = ("v1beta1.DRAPlugin", "v1alpha1.DRAResourceHealth")
"""What kubelets from 1.32 know."""


class RefusedError(Exception):
    """A claim was not prepared; the text is the driver's."""


class Kubelet:
    """Below `root`, a folder that stands for /var/lib/kubelet. `prepared` has the CDI names by claim UID and request.

    `calls` has the UIDs of each call to prepare.
    """

    def __init__(self, root: pathlib.Path, api: ApiServer, node: str, versions: tuple[str, ...] = NEW) -> None:
        self.root, self.api, self.node, self.versions = root, api, node, versions
        self.plugins = root / "plugins_registry"
        self.registered: dict[str, list[str]] = {}
        self.prepared: dict[str, dict[str, list[str]]] = {}
        self.devices: dict[str, list[Any]] = {}
        self.calls: list[list[str]] = []
        self.health: dict[tuple[str, str], tuple[int, str]] = {}
        self._channel: grpc.aio.Channel | None = None
        self._pb: ModuleType | None = None
        self._stub: Any = None
        self._seen: dict[str, tuple[int, int]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Kubelet"]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def start(self) -> None:
        """The node's slices go at each start."""
        self.plugins.mkdir(parents=True, exist_ok=True)
        await self.api.wipe(self.node)
        self._tasks = [asyncio.create_task(self._watch_plugins())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        if self._channel is not None:
            await self._channel.close()
        self._channel = self._stub = None
        self._seen, self.prepared, self.registered, self.health = {}, {}, {}, {}

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def until_registered(self, timeout: float = 30.0) -> None:
        await loops.until(lambda: self._stub is not None or self._tasks[0].done(), timeout)
        if self._tasks[0].done():
            self._tasks[0].result()  # what it ended with

    async def prepare(self, pod: str, *claims: tuple[str, str]) -> dict[str, list[str]]:
        """Prepare the claims (namespace, name) of a pod, by its UID; returns the CDI names by request of all of them.

        Raises RefusedError with the texts of those that were not prepared.
        """
        found = [self._claim(pod, *each) for each in claims]
        wanted = [each for each in found if each["metadata"]["uid"] not in self.prepared]
        if wanted:
            await self._prepare(wanted)
        return {request: names for each in found for request, names in self.prepared[each["metadata"]["uid"]].items()}

    def _claim(self, pod: str, namespace: str, name: str) -> dict[str, Any]:
        claim = self.api.objects["ResourceClaim", namespace, name]
        if pod not in [each["uid"] for each in claim["status"]["reservedFor"]]:
            raise RefusedError(f"pod {pod} is not allowed to use resourceclaim {name}")
        return claim

    async def _prepare(self, claims: list[dict[str, Any]]) -> None:
        uids = [each["metadata"]["uid"] for each in claims]
        self.calls.append(uids)
        assert self._pb is not None
        request = self._pb.NodePrepareResourcesRequest(claims=[self._reference(each["metadata"]) for each in claims])
        answer = await self._stub.NodePrepareResources(request, timeout=45)
        assert set(answer.claims) == set(uids), "the kubelet takes an unknown or a missing UID for an error"
        failed = {uid: one.error for uid, one in answer.claims.items() if one.error}
        for uid in uids:
            if uid not in failed:
                self._keep(uid, list(answer.claims[uid].devices))
        if failed:
            raise RefusedError("; ".join(failed.values()))

    def _keep(self, uid: str, devices: list[Any]) -> None:
        """Every container that names a request gets all CDI names of that request (pkg/kubelet/cm/dra/claiminfo.go)."""
        self.devices[uid] = devices
        named: dict[str, list[str]] = {}
        for device in devices:
            for request in device.request_names:
                named.setdefault(request, []).extend(device.cdi_device_ids)
        self.prepared[uid] = named

    async def unprepare(self, namespace: str, name: str, uid: str) -> str:
        """Returns the driver's error, "" if there is none."""
        assert self._pb is not None
        claim = self._pb.Claim(namespace=namespace, name=name, uid=uid)
        request = self._pb.NodeUnprepareResourcesRequest(claims=[claim])
        answer = await self._stub.NodeUnprepareResources(request, timeout=45)
        assert set(answer.claims) == {uid}
        error = str(answer.claims[uid].error)
        if not error:
            self.prepared.pop(uid, None)
        return error

    def _reference(self, metadata: dict[str, str]) -> Any:
        assert self._pb is not None
        return self._pb.Claim(namespace=metadata["namespace"], uid=metadata["uid"], name=metadata["name"])

    async def _watch_plugins(self) -> None:
        """Dial every socket that is new, hidden ones excepted (pkg/kubelet/pluginmanager/pluginwatcher)."""
        while True:
            for path in sorted(self.plugins.iterdir()):
                with contextlib.suppress(FileNotFoundError):
                    if not path.name.startswith("."):
                        await self._see(path)
            await asyncio.sleep(0.02)

    async def _see(self, path: pathlib.Path) -> None:
        found = path.stat()
        known = (found.st_ino, found.st_mtime_ns)
        if stat.S_ISSOCK(found.st_mode) and self._seen.get(path.name) != known:
            self._seen[path.name] = known
            await self._meet(path)

    async def _meet(self, path: pathlib.Path) -> None:
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            stub = pluginregistration_pb2_grpc.RegistrationStub(channel)
            info = await stub.GetInfo(pluginregistration_pb2.InfoRequest(), timeout=5)
            assert info.type == "DRAPlugin"
            assert pathlib.Path(info.endpoint).is_socket(), "the kubelet dials it at once"
            self.registered[info.name] = list(info.supported_versions)
            await self._dial(info.endpoint, list(info.supported_versions))
            done = pluginregistration_pb2.RegistrationStatus(plugin_registered=True)
            await stub.NotifyRegistrationStatus(done, timeout=5)

    async def _dial(self, endpoint: str, versions: list[str]) -> None:
        if self._channel is not None:
            await self._channel.close()
        self._channel = grpc.aio.insecure_channel(f"unix:{endpoint}", options=(("grpc.use_local_subchannel_pool", 1),))
        claims = next(each for each in versions if each.endswith(".DRAPlugin") and each in self.versions)
        health = next(each for each in versions if each.endswith(".DRAResourceHealth") and each in self.versions)
        self._pb, stub = _SERVICES[claims]
        pb, watch = _SERVICES[health]
        self._tasks.append(asyncio.create_task(self._watch_health(pb, watch(self._channel))))
        self._stub = stub(self._channel)

    async def _watch_health(self, pb: ModuleType, stub: Any) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            async for told in stub.NodeWatchResources(pb.NodeWatchResourcesRequest()):
                self.health = {
                    (each.device.pool_name, each.device.device_name): (each.health, each.message)
                    for each in told.devices
                }
