"""The agent: watchers of all kinds, the view that they fill, and the sender that follows it."""

import asyncio
import logging
import pathlib
from collections.abc import Callable

from sriov.apiserver import watching
from sriov.daemon import background
from sriov_agent import api, sending, view

_log = logging.getLogger(__name__)

_MOST_COMPLAINTS = 10_000  # lines that are remembered, so that each is logged once


class Agent:
    """For one event loop. `latency` is called with the seconds from an event to the frame that it led to."""

    def __init__(
        self,
        node: str,
        source: watching.ObjectSource,
        socket: pathlib.Path,
        timings: watching.WatchTimings = watching.WatchTimings(),  # noqa: B008  # frozen
    ) -> None:
        self.tasks = background.Background()
        self.view = view.View(node, Complaints().once)
        self.sender = sending.Sender(socket, self.view.whole, self.view.change, self._sent)
        self.watchers = [
            watching.KindWatcher(kind, source, self.view, self.sender.note, timings) for kind in api.kinds(node)
        ]
        self.latency: Callable[[float], None] = lambda _seconds: None

    async def run(self) -> None:
        """Run until cancelled. Nothing is sent before everything has been listed: half a table would close the rest."""
        async with asyncio.TaskGroup() as group:
            for each in self.watchers:
                group.create_task(self.tasks.keep(f"watching {each.name}s", each.run))
            for each in self.watchers:
                await each.listed.wait()
            _log.info("listed %s", ", ".join(f"{count} {kind}s" for kind, count in self.view.counts().items()))
            group.create_task(self.tasks.keep("sending Services", self.sender.run))

    def problems(self) -> list[str]:
        """Return what keeps the daemon from having the cluster's present Services, a line for each."""
        unlisted = [f"{each.name}s have not been listed yet" for each in self.watchers if not each.listed.is_set()]
        failing = [each.problem for each in self.watchers if each.problem]
        sending_ = [self.sender.problem] if self.sender.problem else []
        return [*self.tasks.problems(), *failing, *unlisted, *sending_]

    def _sent(self, since: float) -> None:
        self.latency(asyncio.get_running_loop().time() - since)


class Complaints:
    """What is wrong with objects, each said once: an object comes again with every change."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def once(self, text: str) -> None:
        if text in self._said:
            return
        if len(self._said) >= _MOST_COMPLAINTS:
            self._said.clear()
        self._said.add(text)
        _log.warning("%s", text)
