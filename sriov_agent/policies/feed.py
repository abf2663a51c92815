"""Feeding of the daemon's table of policies."""

import asyncio
import pathlib
from collections.abc import Callable
from typing import Protocol

import msgspec

from sriov.apiserver import watching
from sriov.cluster import policies, policy_frames
from sriov.daemon import background
from sriov_agent import feeding
from sriov_agent.policies import asking, kinds, view


class Source(watching.ObjectSource, asking.PodSource, Protocol):
    """What is asked of the API server."""


class FeedTarget(msgspec.Struct, frozen=True):
    """The node whose pods the table is for, and the daemon's socket. With `multi`, of all their networks."""

    node: str
    socket: pathlib.Path
    multi: bool = False


class PolicyFeed(feeding.Feed[policies.PolicyChange]):
    def __init__(self, where: FeedTarget, source: Source, complain: Callable[[str], None]) -> None:
        self.rules = view.PolicyView(where.node, complain)
        watched = kinds.kinds(multi=where.multi)
        super().__init__(policy_frames.FORMAT, self.rules, watched, source, where.socket, listen=self._listen)
        self._asking = asking.Asking(source, self.rules, self.sender.note)

    async def run(self, tasks: background.Background) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run(tasks))
            group.create_task(tasks.keep("asking for pods", self._asking.run))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        await self._asking.listen(reader)
