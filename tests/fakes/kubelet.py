"""Stand-in kubelet: a real gRPC server that treats device plugins as the kubelet's device manager does.

It removes every socket when it starts, checks version and name, dials back inside Register, opens ListAndWatch once
and never again, and takes each answer for the whole list. It hands devices to pods and remembers them.
`python -m tests.fakes.kubelet --dir DIR --control SOCKET` runs it alone. The control socket takes lines of JSON and
answers each with `{"result": ...}` or `{"error": TEXT}`:

    {"do": "resources"}                                                        devices of each resource
    {"do": "wait", "resource": NAME, "devices": COUNT, "timeout": SECONDS}     until so many are healthy; their IDs
    {"do": "allocate", "pod": POD, "resource": NAME, "count": COUNT}           {"envs": {...}}
    {"do": "free", "pod": POD}                                                 the pod is gone
    {"do": "restart"}                                                          as the real one, sockets wiped
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import stat
from collections.abc import Awaitable, Callable

import grpc

from sriov.kubelet._pb import deviceplugin_pb2 as pb
from sriov.kubelet._pb import deviceplugin_pb2_grpc as pb_grpc
from sriov.kubelet._pb import pluginregistration_pb2 as watched_pb
from sriov.kubelet._pb import pluginregistration_pb2_grpc as watched_grpc

grpc.aio.init_grpc_aio()  # for as long as the process lives, as in deviceplugin.registration

_NAME = re.compile(r"[a-z0-9.-]{1,244}/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_CHANNEL = (("grpc.use_local_subchannel_pool", 1),)


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """A device as a plugin last described it."""

    id: str
    healthy: bool
    numa_node: int | None = None


@dataclasses.dataclass(slots=True, eq=False)
class Endpoint:
    """A plugin that has registered: its channel, its ListAndWatch, and the lists it has sent, oldest first.

    `name` is its socket's as registered; `dialled` is how many seconds it took to answer inside Register.
    """

    resource: str
    name: str
    channel: grpc.aio.Channel
    stub: pb_grpc.DevicePluginStub
    watching: asyncio.Task[None] | None = None
    dialled: float = 0.0
    said: list[dict[str, Device]] = dataclasses.field(default_factory=list)


class Kubelet:
    """The kubelet below `root`, a folder that stands for /var/lib/kubelet. `registrations` are names in order."""

    def __init__(
        self, root: pathlib.Path, patience: float = 10.0, *, watching: bool = False, keeps_older: bool = False
    ) -> None:
        """`patience` is how many seconds it dials back; of the next registrations `refusals` are refused,
        and for `unwatched` ListAndWatch is not called. `watching` turns on its plugin watcher. `keeps_older`: as a
        kubelet from 1.25 on it goes on with an older plugin's stream, whose end ends the newer plugin's
        (pkg/kubelet/cm/devicemanager/plugin/v1beta1/handler.go, runClient); those before 1.25 hang up on the older."""
        self._keeps_older = keeps_older
        self._older: list[Endpoint] = []
        self.plugins = root / "plugins_registry"
        self._watching = watching
        self._watcher: asyncio.Task[None] | None = None
        self.refusals = 0
        self.unwatched = 0
        self.patience = patience
        self.folder = root / "device-plugins"
        self.socket = self.folder / "kubelet.sock"
        self.registrations: list[str] = []
        self.endpoints: dict[str, Endpoint] = {}
        self.pods: dict[str, dict[str, list[str]]] = {}
        self._server: grpc.aio.Server | None = None
        self._changed = asyncio.Event()

    @property
    def resources(self) -> dict[str, dict[str, Device]]:
        """Return the devices of each resource, by ID, as last received."""
        return {name: endpoint.said[-1] if endpoint.said else {} for name, endpoint in self.endpoints.items()}

    @property
    def streams(self) -> int:
        """Number of open ListAndWatch streams."""
        return sum(
            endpoint.watching is not None and not endpoint.watching.done() for endpoint in self.endpoints.values()
        )

    async def start(self, *, wipe: bool = True) -> None:
        """CleanupPluginDirectory, then serve."""
        self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        if wipe:
            self.wipe()
        self._server = grpc.aio.server()
        pb_grpc.add_RegistrationServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{self.socket}")
        await self._server.start()
        if self._watching:
            self.plugins.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._watcher = asyncio.create_task(self._watch_plugins())

    async def stop(self) -> None:
        """Go down as a process does: no farewell to the plugins, and what they said is forgotten. Pods stay."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
            self._watcher = None
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
        for endpoint in [*self.endpoints.values(), *self._older]:
            await self._hang_up(endpoint)
        self.endpoints.clear()
        self._older.clear()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def wipe(self) -> None:
        """Remove every socket, no matter whose; keep files and folders."""
        for path in self.folder.iterdir():
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                path.unlink()

    async def break_stream(self, resource: str) -> None:
        """End a ListAndWatch from this side, as a kubelet does that cannot read it. It is not opened again.

        The connection ends with it (pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go, runClient). That matters:
        a call that is cancelled while grpc.aio begins it may begin all the same.
        """
        endpoint = self.endpoints[resource]
        assert endpoint.watching is not None
        await self._hang_up(endpoint)

    async def wait_for(self, resource: str, count: int, timeout: float = 10.0) -> dict[str, Device]:
        """Wait until the resource has this many healthy devices. Raises TimeoutError."""
        await self.wait_until(lambda: resource in self.resources and len(self._healthy(resource)) == count, timeout)
        return self.resources[resource]

    async def wait_until(self, met: Callable[[], bool], timeout: float = 10.0) -> None:
        """Wait until something received makes it true. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not met():
                self._changed.clear()
                await self._changed.wait()

    async def allocate(self, pod: str, resource: str, count: int) -> dict[str, str]:
        """Give the pod healthy devices that no pod has; returns its environment. Raises LookupError, AioRpcError."""
        taken = {device for held in self.pods.values() for device in held.get(resource, [])}
        free = [device for device in self._healthy(resource) if device not in taken]
        if len(free) < count:
            raise LookupError(f"{resource} has {len(free)} free devices, {pod} wants {count}")
        envs = await self.request(resource, free[:count])
        self.pods.setdefault(pod, {}).setdefault(resource, []).extend(free[:count])
        return envs

    async def request(self, resource: str, ids: list[str]) -> dict[str, str]:
        """Allocate these devices unconditionally. Raises AioRpcError."""
        asked = pb.AllocateRequest(container_requests=[pb.ContainerAllocateRequest(devices_ids=ids)])
        answer = await self.endpoints[resource].stub.Allocate(asked)
        return dict(answer.container_responses[0].envs)

    def free(self, pod: str) -> None:
        """End the pod. No plugin is told."""
        self.pods.pop(pod, None)

    async def Register(self, request: pb.RegisterRequest, context: grpc.aio.ServicerContext) -> object:
        if request.version != "v1beta1":
            raise ValueError(f"{request.version} is not supported")
        if not _NAME.fullmatch(request.resource_name) or "kubernetes.io/" in request.resource_name:
            raise ValueError(f"the ResourceName {request.resource_name!r} is invalid")
        if self.refusals > 0:
            self.refusals -= 1
            raise ValueError("refused, as told")
        await self._admit(request.resource_name, self.folder / request.endpoint)
        return pb.Empty()

    async def _watch_plugins(self) -> None:
        """Watch for plugins: dial every new socket there, until it has answered in time (pkg/kubelet/pluginmanager)."""
        known: dict[pathlib.Path, tuple[int, int]] = {}
        while True:
            found = {path: _identity(path) for path in self.plugins.glob("[!.]*") if path.is_socket()}
            known = {
                path: identity
                for path, identity in found.items()
                if known.get(path) == identity or await self._meets(path)
            }
            await asyncio.sleep(0.02)

    async def _meets(self, path: pathlib.Path) -> bool:
        try:
            await self._meet(path)
        except grpc.aio.AioRpcError as error:
            return error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        return True

    async def _meet(self, path: pathlib.Path) -> None:
        async with grpc.aio.insecure_channel(f"unix:{path}", options=_CHANNEL) as channel:
            stub = watched_grpc.RegistrationStub(channel)
            info = await stub.GetInfo(watched_pb.InfoRequest(), timeout=1)
            status = watched_pb.RegistrationStatus(plugin_registered=True)
            if info.type != "DevicePlugin" or "v1beta1" not in info.supported_versions:
                status = watched_pb.RegistrationStatus(error=f"cannot validate {info}")
            elif self.refusals > 0:
                self.refusals -= 1
                status = watched_pb.RegistrationStatus(error="refused, as told")
            else:
                await self._admit(info.name, pathlib.Path(info.endpoint or path))
            await stub.NotifyRegistrationStatus(status, timeout=5)

    async def _admit(self, resource: str, path: pathlib.Path) -> None:
        """Dial the plugin, replace an older one, and watch it."""
        endpoint = await self._dial(resource, path)
        older = self.endpoints.get(resource)
        self.endpoints[resource] = endpoint
        if older is not None and self._keeps_older:
            self._older.append(older)
        elif older is not None:
            await self._hang_up(older)
        self.registrations.append(resource)
        if self.unwatched > 0:
            self.unwatched -= 1
        else:
            endpoint.watching = asyncio.create_task(self._watch(endpoint))
        self._changed.set()

    async def _dial(self, resource: str, path: pathlib.Path) -> Endpoint:
        channel = grpc.aio.insecure_channel(f"unix:{path}", options=_CHANNEL)
        endpoint = Endpoint(resource, path.name, channel, pb_grpc.DevicePluginStub(channel))
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            await endpoint.stub.GetDevicePluginOptions(pb.Empty(), timeout=self.patience, wait_for_ready=True)
        except grpc.aio.AioRpcError:
            await channel.close()
            raise
        endpoint.dialled = clock() - began
        return endpoint

    async def _watch(self, endpoint: Endpoint) -> None:
        try:
            async for answer in endpoint.stub.ListAndWatch(pb.Empty()):
                endpoint.said.append({device.ID: _device(device) for device in answer.devices})
                self._changed.set()
        except grpc.aio.AioRpcError:
            pass  # not tried again: the plugin has to register
        finally:
            if endpoint.said:
                last = endpoint.said[-1].values()
                endpoint.said.append({device.id: dataclasses.replace(device, healthy=False) for device in last})
            self._changed.set()
            if endpoint in self._older:
                self._older.remove(endpoint)
                await self._hang_up(self.endpoints[endpoint.resource])

    async def _hang_up(self, endpoint: Endpoint) -> None:
        if endpoint.watching is not None:
            endpoint.watching.cancel()
            await asyncio.wait({endpoint.watching})
        await endpoint.channel.close()

    def _healthy(self, resource: str) -> list[str]:
        return [device.id for device in self.resources.get(resource, {}).values() if device.healthy]


def _identity(path: pathlib.Path) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_ino, found.st_mtime_ns


def _device(device: pb.Device) -> Device:
    nodes = [node.ID for node in device.topology.nodes]
    return Device(device.ID, device.health == "Healthy", nodes[0] if nodes else None)


class Control:
    """The control socket of a kubelet that runs alone; its lines are in the module's docstring."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet
        self._verbs: dict[str, Callable[[dict[str, object]], Awaitable[object]]] = {
            "resources": self._resources,
            "wait": self._wait,
            "allocate": self._allocate,
            "free": self._free,
            "restart": self._restart,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(await self._answer(json.loads(line))).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _answer(self, request: dict[str, object]) -> dict[str, object]:
        try:
            return {"result": await self._verbs[str(request.get("do"))](request)}
        except (LookupError, TimeoutError, grpc.aio.AioRpcError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    async def _resources(self, request: dict[str, object]) -> object:
        return {
            name: [dataclasses.asdict(device) for device in devices.values()]
            for name, devices in self._kubelet.resources.items()
        }

    async def _wait(self, request: dict[str, object]) -> object:
        count, timeout = int(str(request["devices"])), float(str(request.get("timeout", 10)))
        return sorted(await self._kubelet.wait_for(str(request["resource"]), count, timeout))

    async def _allocate(self, request: dict[str, object]) -> object:
        count = int(str(request.get("count", 1)))
        return {"envs": await self._kubelet.allocate(str(request["pod"]), str(request["resource"]), count)}

    async def _free(self, request: dict[str, object]) -> object:
        self._kubelet.free(str(request["pod"]))
        return None

    async def _restart(self, request: dict[str, object]) -> object:
        await self._kubelet.restart()
        return None


async def _run(root: pathlib.Path, control: pathlib.Path) -> None:
    kubelet = Kubelet(root)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await kubelet.start()
    coming = control.with_name(control.name + ".coming")
    async with await asyncio.start_unix_server(Control(kubelet).serve, coming):
        coming.rename(control)  # who sees it can connect to it: between bind(2) and listen(2) nobody can
        await stop.wait()
    await kubelet.stop()


def main() -> None:
    parser = argparse.ArgumentParser("kubelet", description="A stand-in kubelet.")
    parser.add_argument("--dir", type=pathlib.Path, required=True, help="stands for /var/lib/kubelet")
    parser.add_argument("--control", type=pathlib.Path, required=True, help="socket to create, takes lines of JSON")
    flags = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(flags.dir, flags.control))


if __name__ == "__main__":
    main()
