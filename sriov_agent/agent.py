"""The agent: what it feeds, and what it has complained of."""

import asyncio
import logging
import pathlib
from typing import TYPE_CHECKING, Any

from sriov.apiserver import watching
from sriov.cluster import frames
from sriov.daemon import background
from sriov_agent import api, feeding, view

if TYPE_CHECKING:  # an agent without policies imports nothing for them
    from sriov_agent.policies import feed

_log = logging.getLogger(__name__)

_MOST_COMPLAINTS = 10_000  # lines that are remembered, so that each is logged once


class Agent:
    """For one event loop. `policies` is None if they are not asked for."""

    def __init__(
        self,
        node: str,
        source: watching.ObjectSource,
        socket: pathlib.Path,
        policies: "feed.PolicyFeed | None" = None,
    ) -> None:
        self.tasks = background.Background()
        self.view = view.View(node, Complaints().once)
        self.services = feeding.Feed(frames.FORMAT, self.view, api.kinds(node), source, socket)
        self.policies = policies

    @property
    def feeds(self) -> list[feeding.Feed[Any]]:
        return [self.services, *([] if self.policies is None else [self.policies])]

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            for each in self.feeds:
                group.create_task(each.run(self.tasks))

    def problems(self) -> list[str]:
        """Return what keeps the daemon from having what the cluster has, a line for each."""
        return [*self.tasks.problems(), *(problem for each in self.feeds for problem in each.problems())]


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
