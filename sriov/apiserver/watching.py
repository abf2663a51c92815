"""Watching of one kind: listed, then watched from there; taken up again where a watch ended; listed again when that is
impossible. While the API server is away, what was seen stays.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from sriov import errors
from sriov.apiserver import connection
from sriov.daemon import background

_log = logging.getLogger(__name__)


class ObjectSource(Protocol):
    """What the watcher asks of the API server."""

    def list(self, kind: connection.WatchedKind, put: Callable[[Any], None]) -> Awaitable[str]: ...

    def watch(self, kind: connection.WatchedKind, version: str) -> AsyncIterator[tuple[str, Any]]: ...


class ClusterView(Protocol):
    """What takes note of objects: of one that is new or changed, of one that is gone, of a complete list; and of a kind
    that the API server does not serve."""

    def put(self, seen: Any) -> None: ...

    def remove(self, kind: type[Any], key: tuple[str, str]) -> None: ...

    def only(self, kind: type[Any], keys: set[tuple[str, str]]) -> None: ...

    def absent(self, kind: type[Any]) -> None: ...


_MOST_ASKED = 60.0  # seconds


class WatchTimings(background.RetryTimings, frozen=True):
    """Times in seconds. After `silence`, longer than bookmarks are apart (a minute), a watch is taken up again. A kind
    that is not served is asked for again after `absent`."""

    first: float = 0.5
    settled: float = 10.0
    silence: float = 90.0
    absent: float = 600.0

    def drawn_pause(self, in_a_row: int, asked: float = 0.0) -> float:
        """Return a part of the pause, so that not all agents of a cluster come back at once; but what the server has
        asked for, up to a minute."""
        return max(min(asked, _MOST_ASKED), self.pause(in_a_row) * random.uniform(0.5, 1))  # noqa: S311


class KindWatcher:
    """`noted` is called after each event. `listed` is set once everything is known, or known not to be there."""

    def __init__(
        self,
        kind: connection.WatchedKind,
        source: ObjectSource,
        seen: ClusterView,
        noted: Callable[[], None],
        timings: WatchTimings = WatchTimings(),  # noqa: B008  # frozen
    ) -> None:
        self._kind, self._source, self._view, self._noted, self._timings = kind, source, seen, noted, timings
        self._version = ""
        self._failures = 0
        self.listed = asyncio.Event()
        self.events = 0
        self.last_event = 0.0
        self.problem = ""

    @property
    def name(self) -> str:
        return self._kind.name

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except TimeoutError:
                self._fine()
            except connection.AbsentError as error:
                await self._absent(error)
            except connection.FailedError as error:
                await self._failed(error, settled=loop.time() - began >= self._timings.settled)

    async def _list(self) -> None:
        keys = set()

        def put(found: Any) -> None:
            keys.add(found.metadata.key)
            self._view.put(found)

        self._version = await self._source.list(self._kind, put)
        self._view.only(self._kind.base, keys)
        self._changed()
        self.listed.set()

    async def _watch(self) -> None:
        events = self._source.watch(self._kind, self._version)
        while True:
            async with asyncio.timeout(self._timings.silence):
                what, found = await anext(events)
            self._fine()
            self._version = found.metadata.resourceVersion
            if what == connection.BOOKMARK:
                continue
            if what == connection.DELETED:
                self._view.remove(self._kind.base, found.metadata.key)
            else:
                self._view.put(found)
            self._changed()

    def _changed(self) -> None:
        self.events += 1
        self.last_event = asyncio.get_running_loop().time()
        self._noted()

    def _fine(self) -> None:
        if self.problem:
            _log.info("watching %ss again", self.name)
        self._failures, self.problem = 0, ""

    async def _absent(self, error: connection.AbsentError) -> None:
        """A cluster before 1.33 has no ServiceCIDRs, most have no MultiNetworkPolicies; asked again now and then."""
        if not self._kind.optional:
            await self._failed(error, settled=False)
            return
        self._version = ""
        self._view.absent(self._kind.base)
        self._noted()
        self.listed.set()
        await asyncio.sleep(self._timings.absent)

    async def _failed(self, error: connection.FailedError, settled: bool) -> None:
        """Wait before the next try. An old version, or a watch that ended after a while, is nobody's failure."""
        if isinstance(error, connection.GoneError):
            self._version = ""
        if settled:
            self._fine()
        self._failures += 1
        pause = self._timings.drawn_pause(self._failures, error.pause)
        if self._failures > 1 or not isinstance(error, connection.GoneError | connection.EndedError):
            self._complain(error, pause)
        await asyncio.sleep(pause)

    def _complain(self, error: errors.SriovError, pause: float) -> None:
        if str(error) != self.problem:
            _log.warning("%s; everything stays as it is, next try in %.1f s", error, pause)
        self.problem = str(error)
