"""Session with the kubelet: one resource's socket, its registration, and a new registration whenever that is lost.

The order is the kubelet's: it dials our socket inside Register, so we serve before we register, and it opens
ListAndWatch once and never again (pkg/kubelet/cm/devicemanager/plugin/v1beta1/handler.go, client.go). So whatever ends
a registration also ends the socket, and the next one starts from nothing: there are never two.
"""

import asyncio
import contextlib
import logging
import math
import pathlib
import random
from collections.abc import AsyncIterator, Callable

import grpc
import msgspec

from deviceplugin import device_files, registration, servicer
from sriov import errors
from sriov.daemon import logs, unix_sockets
from sriov.kubelet import names, plugin_directory, plugin_registration
from sriov.pools import assignment

log = logging.getLogger(__name__)


class Timings(msgspec.Struct, frozen=True):
    """Times in seconds. `poll` is between two tries where no event can come; `look` between two looks at a directory
    that is watched, for what makes no event, such as a mount over it. `register` is longer than the 10 s in which the
    kubelet dials back; `first_stream` is how long it may take to open ListAndWatch; a registration that lasted
    `settled` is not a failure."""

    poll: float = 1.0
    look: float = 15.0
    register: float = 15.0
    first_stream: float = 10.0
    stop: float = 0.5
    settled: float = 10.0
    backoff: float = 0.2
    backoff_max: float = 15.0


def backoff(attempt: int, jitter: float, timings: Timings) -> float:
    """Return the seconds before the next attempt, doubling from attempt 0 on, less up to half by `jitter`, 0 to 1."""
    longest = min(timings.backoff_max, timings.backoff * 2.0 ** min(attempt, 30))
    return longest * (1 - jitter / 2)


class Registration:
    """Keeps one resource registered with the present kubelet. `run`, and so its socket, ends only by cancellation."""

    def __init__(
        self,
        pool: assignment.Pool,
        registrar: registration.Registrar,
        giver: device_files.Handout,
        refused: Callable[[], None],
        timings: Timings,
    ) -> None:
        """`refused` is called when an Allocate was refused."""
        self.servicer = servicer.Servicer(pool, giver, self.nudge, refused)
        self.known = False
        """Whether a kubelet has accepted us, and watches."""
        self.registered = self.failed = 0  # attempts in all, by outcome
        self._resource = pool.resource
        self._own = _socket(registrar.folder, pool)
        self._registrar = registrar
        self._timings = timings
        self._news = asyncio.Event()
        self._complaint = ""
        self._stopping: asyncio.Future[None] | None = None

    def nudge(self) -> None:
        """Look at the directory soon."""
        self._news.set()

    async def run(self) -> None:
        logs.about(resource=self._resource)
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            started, kubelet = loop.time(), self._registrar.kubelet()
            if await self._attempt() is plugin_directory.Lost.SOCKET_REPLACED:
                await self._stand_by()
            attempt = 0 if loop.time() - started > self._timings.settled else attempt + 1
            await self._pause(backoff(attempt, random.SystemRandom().random(), self._timings), kubelet)

    async def _attempt(self) -> plugin_directory.Lost | None:
        """Register and stay registered. Returns why that has ended; None if it never succeeded."""
        try:
            kubelet = self._kubelet_present()
            async with self._served() as own:
                reason = await self._registered(plugin_directory.Sight(own, kubelet))
        except plugin_registration.RefusedError as error:
            self._complain(f"the kubelet refuses: {error}")
        except (OSError, RuntimeError) as error:  # grpc raises RuntimeError if it cannot bind
            self._complain(str(error))
        else:
            log.warning("%s has to register again: %s", self._resource, reason.value)
            return reason
        finally:
            self.known = False
        return None

    def _complain(self, complaint: str) -> None:
        """Log each cause once: a kubelet may be away for hours."""
        self.failed += 1
        if complaint != self._complaint:
            log.warning("%s cannot register, retrying: %s", self._resource, complaint)
        self._complaint = complaint

    @contextlib.asynccontextmanager
    async def _served(self) -> AsyncIterator[plugin_directory.Identity]:
        """Serve on a socket that is complete, and usable only by root, before it gets its name."""
        hidden = self._own.with_name(f".{self._own.name}")
        if unix_sockets.is_blocked(self._own):
            raise FileExistsError(f"{self._own} exists and is not a socket; remove it")
        server = grpc.aio.server()
        self.servicer.add_to(server)
        self._registrar.add_to(server, self._resource)
        own = None
        starting: asyncio.Future[None] | None = None
        try:
            _bind(server, hidden)
            starting = asyncio.ensure_future(server.start())
            await asyncio.shield(starting)
            own = plugin_directory.identity(hidden)
            hidden.rename(self._own)
            if own is None:
                raise FileNotFoundError(f"{hidden} was removed")
            yield own
        finally:
            if own is not None and plugin_directory.identity(self._own) == own:
                self._own.unlink(missing_ok=True)
            self.servicer.end_streams()
            if starting is not None:
                await asyncio.wait({starting})  # grpc fails to stop a server that is half started
            # In a task of its own: grpc waits by asyncio.wait_for, which can lose a cancellation (CPython 3.11).
            self._stopping = asyncio.ensure_future(server.stop(self._timings.stop))
            await asyncio.wait({self._stopping})

    def _kubelet_present(self) -> plugin_directory.Identity:
        found = self._registrar.kubelet()
        if found is None:
            raise FileNotFoundError(f"there is no kubelet at {self._registrar.folder}, is it running?")
        return found

    async def _registered(self, before: plugin_directory.Sight) -> plugin_directory.Lost:
        opened = self.servicer.opened
        reason = await self._introduced(before)
        if reason is not None:
            return reason
        self.known = True
        self.registered += 1
        self._complaint = ""
        log.info("registered %s with %d devices", self._resource, len(self.servicer.pool.devices))
        return await self._until_lost(before, opened)

    async def _introduced(self, before: plugin_directory.Sight) -> plugin_directory.Lost | None:
        """Register; returns why it has to start again, None once the kubelet has accepted us.

        If the socket is removed while the kubelet dials it, both would otherwise wait until their patience is over.
        """
        timeout = self._timings.register
        introduction = asyncio.ensure_future(self._registrar.introduce(self._resource, self._own.name, timeout))
        introduction.add_done_callback(lambda _: self.nudge())
        try:
            while not introduction.done():
                reason = plugin_directory.lost(before, self._sight(), watched=True)
                if reason is not None:
                    return reason
                await self._nudged(self._timings.look)
            introduction.result()
        finally:
            introduction.cancel()
        return None

    def _sight(self) -> plugin_directory.Sight:
        return plugin_directory.Sight(plugin_directory.identity(self._own), self._registrar.kubelet())

    async def _until_lost(self, before: plugin_directory.Sight, opened: int) -> plugin_directory.Lost:
        """Wait; returns what was lost. `opened` is the number of streams before the registration."""
        clock = asyncio.get_running_loop().time
        patience = clock() + self._timings.first_stream
        while True:
            if self.servicer.streams:
                patience = clock() + self._registrar.grace
            elif self.servicer.opened > opened:
                patience, opened = min(patience, clock() + self._registrar.grace), self.servicer.opened
            left = math.inf if self.servicer.streams else patience - clock()
            reason = plugin_directory.lost(before, self._sight(), watched=left > 0)
            if reason is not None:
                return reason
            await self._nudged(min(self._timings.look, left))

    async def _stand_by(self) -> None:
        """Wait while a newer device plugin serves the resource, as in a rolling update; then it is our turn again."""
        log.warning("%s is served by another device plugin; waiting until that one ends", self._resource)
        while await plugin_directory.accepts(self._own):
            await asyncio.sleep(self._timings.poll)

    async def _pause(self, seconds: float, kubelet: plugin_directory.Identity | None) -> None:
        """Wait, but not once another kubelet has come."""
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        while clock() < end and self._registrar.kubelet() in (None, kubelet):
            await self._nudged(min(self._timings.look, end - clock()))

    async def _nudged(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()


def _socket(folder: pathlib.Path, pool: assignment.Pool) -> pathlib.Path:
    """Raises SriovError if the kubelet's directory is too deep for a socket."""
    try:
        return folder / names.socket(pool.settings.prefix, pool.settings.name, names.socket_room(str(folder)))
    except errors.SriovError as error:
        error.remedy = "use a shorter --kubelet-root-dir"
        raise


def _bind(server: grpc.aio.Server, path: pathlib.Path) -> None:
    """Bind the hidden name. gRPC removes a socket that was left at the path, and removes the path again when it stops,
    no matter whose it then is. Raises RuntimeError."""
    with unix_sockets.for_the_owner_alone():
        server.add_insecure_port(registration.address(path))
