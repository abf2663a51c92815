"""Receiver of the Services' table: a unix socket on which the agent, and nobody else, sends it and what changes it.

The daemon holds no token and asks nobody. What it was sent stays while no agent is there, and after a restart of its
own (`table_store`). A connection begins with the whole table; of what the daemon has already, only the difference is
applied, so that an agent that comes back changes nothing.
"""

import asyncio
import contextlib
import logging
import pathlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from sriov import errors
from sriov.cluster import frames, services
from sriov.daemon import background, unix_sockets
from sriov_cni.dataplane import table_store

_log = logging.getLogger(__name__)

_PATIENCE = 10.0  # seconds for a connection's first frame, and for a frame that has begun
_REST = 1.0  # seconds between two writes of the snapshot
_MODE = 0o666  # the agent is another user; who it is, the kernel says

Apply = Callable[[services.TableChange], None]
"""Brings a change into force. Called in a thread, one change at a time, the first one whole. Raises SriovError."""


class Witness(Protocol):
    """Hears, on the loop, what becomes of the agent's frames. A snapshot is none: it may be older than the kernel's."""

    def took(self, change: services.TableChange, seconds: float) -> None:
        """Hear of a change that is in force, that many seconds after it was received."""

    def refused(self) -> None:
        """Hear of one that was not taken."""


class Nobody:
    def took(self, change: services.TableChange, seconds: float) -> None:
        """Pass over it."""

    def refused(self) -> None:
        """Pass over it."""


def keep_only(_change: services.TableChange) -> None:
    """For a daemon in which nothing acts on Services."""


class Receiver:
    def __init__(
        self,
        snapshot: table_store.Snapshot,
        apply: Apply = keep_only,
        uid: int = unix_sockets.AGENT_UID,
        patience: float = _PATIENCE,
        witness: Witness = Nobody(),  # noqa: B008  # it has no state
    ) -> None:
        self._snapshot, self._apply, self._uid, self._patience = snapshot, apply, uid, patience
        self._table: dict[services.Frontend, services.Service] | None = None
        self._ranges: tuple[str, ...] = ()
        self._witness = witness
        self._seen = time.time()  # when an agent was there last, or we were not
        self._changed = asyncio.Event()
        self._working, self._writing = threading.Lock(), threading.Lock()
        self._turn = 0  # of the newest connection
        self._present: asyncio.Task[None] | None = None

    @property
    def table(self) -> services.Table:
        return self._table or {}

    @property
    def ranges(self) -> tuple[str, ...]:
        return self._ranges

    def silence(self) -> float:
        """Return for how many seconds no agent has been connected; 0 while one is."""
        return 0.0 if self._present is not None and not self._present.done() else time.time() - self._seen

    @contextlib.asynccontextmanager
    async def serving(self, path: pathlib.Path, tasks: background.Background) -> AsyncIterator[None]:
        """Apply the snapshot, then listen until the context ends. Raises SriovError if it cannot listen."""
        await asyncio.to_thread(self._restore)
        try:
            path.parent.mkdir(mode=0o755, exist_ok=True)
            listening = unix_sockets.listen(path)
            path.chmod(_MODE)
        except OSError as error:
            raise errors.SriovError(
                f"cannot listen at {path}: {error.strerror}", "give --cluster-socket a folder that can be made"
            ) from error
        server = await asyncio.start_unix_server(self._accept, sock=listening)
        keeping = asyncio.create_task(tasks.keep("keeping the Services' table", self._keep))
        try:
            yield
        finally:
            server.close()
            keeping.cancel()
            await self._hang_up()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
            if self._changed.is_set():
                await tasks.once("keeping the Services' table", asyncio.to_thread(self._write))

    def _restore(self) -> None:
        change = self._snapshot.read()
        try:
            if change is not None:
                self._into_force(change)
        except errors.SriovError as error:
            _log.error("the Services of the snapshot are not in force: %s", error)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection. The newest of the agent's is the one that counts: an older one is left over."""
        uid = unix_sockets.peer_uid(writer.get_extra_info("socket"))
        if uid not in (0, self._uid):
            _log.error("user %d may not send Services, only user %d may; its connection is closed", uid, self._uid)
            writer.transport.abort()
            return
        if self._present is not None:
            self._present.cancel()
        self._turn += 1
        self._present = asyncio.create_task(self._receive(reader, writer, self._turn))

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, turn: int) -> None:
        """Take frames until the agent ends, or sends what cannot be."""
        try:
            await self._frames(reader, turn)
        except TimeoutError:
            self._refuse(f"a frame did not come whole within {self._patience:g} s")
        except asyncio.IncompleteReadError as error:
            self._refuse(f"a frame ended after {len(error.partial)} of {error.expected} bytes")
        except errors.SriovError as error:
            self._refuse(str(error))
        except ConnectionError as error:
            self._refuse(f"the connection broke ({error})")
        finally:
            self._seen = time.time()
            writer.transport.abort()

    async def _frames(self, reader: asyncio.StreamReader, turn: int) -> None:
        # asyncio.wait_for() may swallow a cancellation that comes with the answer (cpython issue 86296).
        async with asyncio.timeout(self._patience):
            head = await reader.read(1)
        first = True
        while head:
            async with asyncio.timeout(self._patience):
                body = await _rest(reader, head)
            received = time.monotonic()
            taken = await asyncio.to_thread(self._take, body, first, turn)  # a large table takes half a second
            if taken is not None:
                self._witness.took(taken, time.monotonic() - received)
            self._changed.set()
            first = False
            head = await reader.read(1)

    def _refuse(self, why: str) -> None:
        self._witness.refused()
        _log.error("Services from the agent: %s; its connection is closed, the table stays as it was", why)

    def _take(self, body: bytes, first: bool, turn: int) -> services.TableChange | None:
        """Bring a frame into force, unless a newer connection has come: then None. Raises SriovError."""
        change = frames.decoded(body)
        if first and not change.whole:
            raise errors.SriovError("the first frame is not the whole table", "is the agent of another release?")
        with self._working:
            if turn != self._turn:
                return None
            self._into_force(change)
            return change

    def _into_force(self, change: services.TableChange) -> None:
        """Raises SriovError, and then the table is as it was."""
        table = services.applied(self.table, change)
        frames.fitting(table)
        ranges = self._ranges if change.ranges is None else change.ranges
        if self._table is None:
            self._apply(change)
        elif (news := _news(self._table, table, change, self._ranges)) != services.TableChange():
            self._apply(news)
        self._table, self._ranges = table, ranges

    async def _keep(self) -> None:
        """Write the snapshot whenever something has changed, at most once a second."""
        while await self._changed.wait():
            self._changed.clear()
            try:
                await asyncio.to_thread(self._write)
            except BaseException:
                self._changed.set()
                raise
            await asyncio.sleep(_REST)

    def _write(self) -> None:
        with self._working:
            change = services.TableChange(tuple(self.table.values()), whole=True, ranges=self._ranges)
        with self._writing:
            self._snapshot.write(change)

    async def _hang_up(self) -> None:
        if self._present is not None:
            self._present.cancel()
            await asyncio.wait([self._present])


def _news(
    old: services.Table, new: services.Table, change: services.TableChange, ranges: tuple[str, ...]
) -> services.TableChange:
    """Return what of the change the daemon does not have."""
    news = services.difference(old, new) if change.whole else change
    return msgspec.structs.replace(news, ranges=None if change.ranges == ranges else change.ranges)


async def _rest(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """Return a frame's body. Raises SriovError for a length that is not taken."""
    head += await reader.readexactly(frames.HEAD.size - len(head))
    return await reader.readexactly(frames.length(head))
