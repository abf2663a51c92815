"""Answers to the CNI daemon's requests for a pod that starts on this node: the API server is asked for this one.

A watch tells of a pod as soon, mostly. How much the daemon can ask for is bounded, whatever it sends.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from sriov.apiserver import connection
from sriov.cluster import framing, policy_frames
from sriov_agent import objects
from sriov_agent.policies import kinds, pods, view

_log = logging.getLogger(__name__)

_MOST = 256  # pods that are asked for: more than start on a node at once
_AT_ONCE = 4
_REST = 0.1  # seconds after each request: at most 40 a second
_PATIENCE = 5.0  # seconds: the pod's ADD waits for two


class PodSource(Protocol):
    """What is asked of the API server."""

    def get(self, kind: connection.WatchedKind, namespace: str, name: str) -> Awaitable[objects.AnyObject]: ...


class Asking:
    """For one event loop. `noted` is called when a pod has come to the view."""

    def __init__(self, source: PodSource, seen: view.PolicyView, noted: Callable[[], None]) -> None:
        self._source, self._view, self._noted = source, seen, noted
        self._queue: asyncio.Queue[pods.Key] = asyncio.Queue(_MOST)
        self._pending: set[pods.Key] = set()  # in the queue, or asked for

    async def listen(self, reader: asyncio.StreamReader) -> None:
        """Take requests until the daemon hangs up. Raises SriovError for what is none, EOFError for a part of one."""
        while head := await reader.read(1):
            head += await reader.readexactly(framing.HEAD.size - len(head))
            wanted = policy_frames.requested(await reader.readexactly(policy_frames.request_length(head)))
            self._ask_for((wanted.namespace, wanted.name))

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._answer())

    def _ask_for(self, key: pods.Key) -> None:
        """One request for a pod at a time: of two, an old answer could be taken for the new one."""
        if key in self._pending or self._queue.full():
            return
        self._pending.add(key)
        self._view.awaited.add(key)
        self._queue.put_nowait(key)

    async def _answer(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                if key in self._view.awaited:
                    await self._get(key)
                    await asyncio.sleep(_REST)
            finally:
                self._pending.discard(key)

    async def _get(self, key: pods.Key) -> None:
        """Of a pod of which an event has told meanwhile, the event is right: the answer may be older."""
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await self._source.get(kinds.POD, *key)
            if key in self._view.awaited:
                self._view.put(found)
                self._noted()
        except (TimeoutError, connection.FailedError) as error:
            _log.warning("the CNI daemon asks for pod %s/%s: %s", *key, error or f"no answer in {_PATIENCE:g} s")
        finally:
            self._view.awaited.discard(key)
