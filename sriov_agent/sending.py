"""Sending of a table to the CNI daemon: whole when a connection begins, then what changes.

The daemon does not answer. That it has taken a frame shows in that it does not hang up.
"""

import asyncio
import contextlib
import logging
import pathlib
from collections.abc import Awaitable, Callable
from typing import Generic

from sriov import errors
from sriov.apiserver import watching
from sriov.cluster import framing
from sriov.cluster.framing import ChangeT

_log = logging.getLogger(__name__)

_GATHER = 0.01  # seconds: what happens to a Service mostly happens to several of its endpoints
_PATIENCE = 30.0  # seconds in which the daemon takes a frame


async def end(reader: asyncio.StreamReader) -> None:
    """Wait until the daemon hangs up, or says something, which is not its turn."""
    await reader.read(1)


class Sender(Generic[ChangeT]):
    """`whole` and `change` are the view's. `sent` is called when a frame has left, with the time of the oldest event
    in it. `listen` hears the daemon, and returns when it hangs up."""

    def __init__(
        self,
        path: pathlib.Path,
        frames: framing.FrameFormat[ChangeT],
        whole: Callable[[], ChangeT],
        change: Callable[[], ChangeT],
        *,
        sent: Callable[[float], None] = lambda _since: None,
        listen: Callable[[asyncio.StreamReader], Awaitable[None]] = end,
        timings: watching.WatchTimings = watching.WatchTimings(longest=10.0),  # noqa: B008  # frozen
    ) -> None:
        self._path, self._frames, self._timings = path, frames, timings
        self._whole, self._change, self._sent, self._listen = whole, change, sent, listen
        self._noted = asyncio.Event()
        self._since = 0.0
        self.connected = False
        self.problem = f"the table of {frames.name} has not been sent yet"

    def note(self) -> None:
        """Take note that the view has changed."""
        if not self._noted.is_set():
            self._since = asyncio.get_running_loop().time()
            self._noted.set()

    async def run(self) -> None:
        """Send until cancelled."""
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._connected()
            except (OSError, EOFError, TimeoutError, errors.SriovError) as error:
                if asyncio.get_running_loop().time() - began >= self._timings.settled:
                    failures = 0
                failures += 1
                await self._failed(error, failures)

    async def _connected(self) -> None:
        """Send until the connection ends, which is an error."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            hanging_up = asyncio.ensure_future(self._listen(reader))
            await self._write(writer, self._whole())
            self.connected, self.problem = True, ""
            _log.info("the CNI daemon at %s has been sent the table of %s", self._path, self._frames.name)
            while not hanging_up.done():
                noting = asyncio.create_task(self._noted.wait())
                await asyncio.wait({noting, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
                noting.cancel()
                if self._noted.is_set():
                    await asyncio.sleep(_GATHER)
                    await self._write(writer, self._change())
            hanging_up.result()
            raise ConnectionResetError("it closed the connection; its log says why")
        finally:
            self.connected = False
            hanging_up.cancel()
            with contextlib.suppress(OSError):
                writer.transport.abort()

    async def _write(self, writer: asyncio.StreamWriter, change: ChangeT) -> None:
        since, is_news = self._since, self._noted.is_set()
        self._noted.clear()
        if change == self._frames.nothing:
            return
        writer.write(self._frames.encoded(change))
        async with asyncio.timeout(_PATIENCE):
            await writer.drain()
        if is_news and not change.whole:
            self._sent(since)

    async def _failed(self, error: Exception, failures: int) -> None:
        pause = self._timings.drawn_pause(failures)
        text = f"the CNI daemon at {self._path} does not take {self._frames.name}: {error or 'no answer'}"
        if text != self.problem:
            _log.warning("%s; next try in %.1f s", text, pause)
        self.problem = text
        await asyncio.sleep(pause)
