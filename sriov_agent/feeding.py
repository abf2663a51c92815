"""Feeding of one of the daemon's tables: watchers of its kinds, the view that they fill, the sender that follows it."""

import asyncio
import logging
import pathlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, Protocol, TypeVar

from sriov.apiserver import connection, watching
from sriov.cluster import framing
from sriov.cluster.framing import ChangeT
from sriov.daemon import background
from sriov_agent import sending

_log = logging.getLogger(__name__)


_Change_co = TypeVar("_Change_co", covariant=True)


class FedView(watching.ClusterView, Protocol[_Change_co]):
    """View that a table follows from: `change` is what is new in it, `whole` all of it."""

    def counts(self) -> dict[str, int]: ...

    def whole(self) -> _Change_co: ...

    def change(self) -> _Change_co: ...


class Feed(Generic[ChangeT]):
    """For one event loop. `latency` is called with the seconds from an event to the frame that it led to."""

    def __init__(
        self,
        frames: framing.FrameFormat[ChangeT],
        view: FedView[ChangeT],
        kinds: Iterable[connection.WatchedKind],
        source: watching.ObjectSource,
        socket: pathlib.Path,
        *,
        listen: Callable[[asyncio.StreamReader], Awaitable[None]] = sending.end,
    ) -> None:
        self.latency: Callable[[float], None] = lambda _seconds: None
        self._name, self.view = frames.name, view
        self.sender = sending.Sender(socket, frames, view.whole, view.change, sent=self._sent, listen=listen)
        self.watchers = [watching.KindWatcher(kind, source, view, self.sender.note) for kind in kinds]

    async def run(self, tasks: background.Background) -> None:
        """Run until cancelled. Nothing is sent before everything has been listed: half a table would close the rest."""
        async with asyncio.TaskGroup() as group:
            for each in self.watchers:
                group.create_task(tasks.keep(f"watching {each.name}s", each.run))
            for each in self.watchers:
                await each.listed.wait()
            _log.info("listed %s", ", ".join(f"{count} {kind}s" for kind, count in self.view.counts().items()))
            group.create_task(tasks.keep(f"sending {self._name}", self.sender.run))

    def problems(self) -> list[str]:
        """Return what keeps the daemon from having the cluster's present table, a line for each."""
        unlisted = [f"{each.name}s have not been listed yet" for each in self.watchers if not each.listed.is_set()]
        failing = [each.problem for each in self.watchers if each.problem]
        return [*failing, *unlisted, *([self.sender.problem] if self.sender.problem else [])]

    def _sent(self, since: float) -> None:
        self.latency(asyncio.get_running_loop().time() - since)
