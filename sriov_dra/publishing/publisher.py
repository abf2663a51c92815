"""Publisher: keeps the API server's slices as they should be, also when somebody else deletes or changes them.

The kubelet deletes all slices of its node when it starts, and a driver's 30 s after it has lost the connection
(kubernetes pkg/kubelet/cm/dra/plugin): they are watched, and written again at once. A driver that starts and finds all
as it should be writes nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from sriov import errors
from sriov.apiserver import connection, watching
from sriov_dra.publishing import planning, slice_objects, slicing

_log = logging.getLogger(__name__)

_AT_ONCE = 4  # writes that wait for the API server
_OUTRUN = 5  # conflicts in a row that are nobody's failure
_GATHER = 0.05  # seconds: what deletes one slice mostly deletes all

Build = Callable[[bool], tuple[slicing.PoolSlices, ...]]
"""Makes the slices as they should be; the argument is whether the cluster knows taints."""


class SliceWriter(Protocol):
    """What the publisher asks of the API server. All raise FailedError."""

    def create(self, wanted: slice_objects.DeviceSlice) -> Awaitable[slice_objects.DeviceSlice]: ...

    def replace(self, wanted: slice_objects.DeviceSlice) -> Awaitable[slice_objects.DeviceSlice]: ...

    def delete(self, name: str) -> Awaitable[None]: ...


class SliceStore:
    """The node's slices as the API server last told of them. `changed` is called with each change."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.slices: dict[str, slice_objects.DeviceSlice] = {}
        self._changed = changed
        self._ended: set[str] = set()  # since the writes began; no name comes again, as the server makes them

    def put(self, found: Any) -> None:
        """Take a slice in, unless a newer one is known: what was written is known before the watch tells of it."""
        known = self.slices.get(found.metadata.name)
        if known is None or _version(known) <= _version(found):
            slice_objects.share_values(found)
            self.slices[found.metadata.name] = found
            self._changed()

    def remove(self, _base: type[Any], key: tuple[str, str]) -> None:
        self.slices.pop(key[1], None)
        self._ended.add(key[1])
        self._changed()

    def only(self, _base: type[Any], keys: set[tuple[str, str]]) -> None:
        self._ended |= {name for name in self.slices if ("", name) not in keys}
        self.slices = {name: each for name, each in self.slices.items() if ("", name) in keys}
        self._changed()

    def absent(self, base: type[Any]) -> None:
        self.only(base, set())

    def begin(self) -> None:
        """Writes begin: what ends from now on may end before their answers are here."""
        self._ended.clear()

    def take(self, written: slice_objects.DeviceSlice) -> None:
        """Take in the answer to a write, unless the watch has told of a newer one or of the end meanwhile."""
        known = self.slices.get(written.metadata.name)
        newer = known is not None and _version(known) > _version(written)
        if not newer and written.metadata.name not in self._ended:
            slice_objects.share_values(written)
            self.slices[written.metadata.name] = written


def _version(found: slice_objects.DeviceSlice) -> int:
    """Resource versions are numbers that grow (kubernetes KEP-5504); anything else is taken as it comes."""
    text = found.metadata.resourceVersion
    return int(text) if text.isdecimal() else 0


class SlicePublisher:
    """For one event loop. Watches nothing itself: its `store` is for a watcher."""

    def __init__(
        self,
        who: planning.Issuer,
        writer: SliceWriter,
        timings: watching.WatchTimings = watching.WatchTimings(longest=10.0),  # noqa: B008  # frozen
    ) -> None:
        self._who, self._writer, self._timings = who, writer, timings
        self._wake = asyncio.Event()
        self._build: Build | None = None
        self._with_taints = True
        self.store = SliceStore(self._wake.set)
        self.problem = "the slices have not been published yet"
        self.writes = 0

    def publish(self, build: Build) -> None:
        """Make this what should be there."""
        self._build = build
        self._wake.set()

    async def run(self, listed: asyncio.Event) -> None:
        """Publish until cancelled, from when it is known which slices there are."""
        await listed.wait()
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._follow()
            except errors.SriovError as error:
                failures += 1
                await self._failed(error, failures)
            else:
                failures = 0
                await asyncio.sleep(_GATHER)

    async def _follow(self) -> None:
        if self._build is None:
            return
        wanted = self._build(self._with_taints)
        self.store.begin()
        steps = planning.plan(self._who, list(self.store.slices.values()), wanted)
        if all(self._is_first(step) or self._stays_in_its_generation(step) for step in steps):
            await self._take_together(steps)
        else:
            for step in steps:
                await self._take(step)
        if self.problem:
            _log.info("published %s", ", ".join(_told(each) for each in wanted) or "nothing: no resource is for claims")
        self.problem = ""

    def _is_first(self, step: planning.Step) -> bool:
        """Report whether the slice is of a pool of which there is none yet."""
        return isinstance(step, planning.Create) and step.wanted.spec.pool.generation == 1

    def _stays_in_its_generation(self, step: planning.Step) -> bool:
        if not isinstance(step, planning.Replace):
            return False
        known = self.store.slices.get(step.wanted.metadata.name)
        return known is not None and known.spec.pool == step.wanted.spec.pool

    async def _take_together(self, steps: Sequence[planning.Step]) -> None:
        """Write some at a time, in no order: no device moves. Raises the first failure, when all have ended."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(step: planning.Step) -> None:
            async with room:
                await self._take(step)

        ended = await asyncio.gather(*map(one, steps), return_exceptions=True)
        for failure in ended:
            if failure is not None:
                raise failure

    async def _take(self, step: planning.Step) -> None:
        self.writes += 1
        if isinstance(step, planning.Delete):
            await self._writer.delete(step.name)
            self.store.slices.pop(step.name, None)
            return
        try:
            write = self._writer.create if isinstance(step, planning.Create) else self._writer.replace
            kept = await write(step.wanted)
        except connection.AbsentError:
            self.store.slices.pop(step.wanted.metadata.name, None)
            raise
        self.store.take(kept)
        self._compare(step.wanted, kept)

    def _compare(self, wanted: slice_objects.DeviceSlice, kept: slice_objects.DeviceSlice) -> None:
        """A server whose gate for taints is off drops them without a word."""
        if any(each.taints for each in wanted.spec.devices) and not any(each.taints for each in kept.spec.devices):
            _log.warning("the API server knows no taints of devices; a device that something ails is not published")
            self._with_taints = False
            self._wake.set()

    async def _failed(self, error: errors.SriovError, failures: int) -> None:
        """Try again after a pause, a short one if somebody else has been quicker: the watch tells of that."""
        outrun = isinstance(error, connection.ConflictError | connection.AbsentError) and failures <= _OUTRUN
        pause = _GATHER if outrun else self._timings.drawn_pause(failures, _pause_of(error))
        if str(error) != self.problem and not outrun:
            _log.warning("the slices cannot be published: %s; next try in %.1f s", error, pause)
        self.problem = str(error)
        await asyncio.sleep(pause)
        self._wake.set()


def _pause_of(error: errors.SriovError) -> float:
    """Return how many seconds the server wants to be left alone."""
    return error.pause if isinstance(error, connection.FailedError) else 0.0


def _told(pool: slicing.PoolSlices) -> str:
    return f"{pool.name} with {sum(map(len, pool.slices))} devices"
