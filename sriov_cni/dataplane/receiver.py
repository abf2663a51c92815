"""Receiver of a table: a unix socket on which the agent, and nobody else, sends it and what changes it.

The daemon holds no token and asks nobody. What it was sent stays while no agent is there, and after a restart of its
own (`table_store`). A connection begins with the whole table; of what the daemon has already, only the difference is
applied, so that an agent that comes back changes nothing.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import pathlib
import threading
import time
from collections.abc import AsyncIterator
from typing import Generic, Protocol, TypeVar

from sriov import errors
from sriov.cluster import frames, framing, services
from sriov.cluster.framing import ChangeT
from sriov.daemon import background, unix_sockets
from sriov_cni.dataplane import table_store

_log = logging.getLogger(__name__)

_PATIENCE = 10.0  # seconds for a connection's first frame, and for a frame that has begun
_REST = 1.0  # seconds between two writes of the snapshot
_MODE = 0o666  # the agent is another user; who it is, the kernel says
_MOST_UNSENT = 1 << 16  # bytes of requests to an agent that does not read them
_MOST_TOLD = 400  # characters of a refusal: it has values of the frame, which may be as long as that

_Taken_contra = TypeVar("_Taken_contra", contravariant=True)


class HeldTable(Protocol[ChangeT]):
    """Table that a change goes to. Called in a thread, one at a time."""

    def take(self, change: ChangeT) -> None:
        """Bring it into force; the first one is whole. Raises SriovError, and then the table is as it was."""

    def whole(self) -> ChangeT:
        """Return the change that makes the table in force of none."""


class FrameObserver(Protocol[_Taken_contra]):
    """Called on the loop with the fate of each frame. A snapshot is none: it may be older than the kernel's table."""

    def took(self, change: _Taken_contra, seconds: float) -> None:
        """A change is in force, that many seconds after it was received."""

    def refused(self) -> None:
        """A change was not taken."""


class Unobserved:
    """For a receiver that nobody counts."""

    def took(self, change: object, seconds: float) -> None:
        """Pass over it."""

    def refused(self) -> None:
        """Pass over it."""


def keep_only(_change: services.TableChange) -> None:
    """For a daemon in which nothing acts on Services."""


class TableReceiver(Generic[ChangeT]):
    """For one event loop. `option` names the socket in a command line."""

    def __init__(
        self,
        format_: framing.FrameFormat[ChangeT],
        held: HeldTable[ChangeT],
        snapshot: table_store.TableFile[ChangeT],
        *,
        uid: int = unix_sockets.AGENT_UID,
        patience: float = _PATIENCE,
        observer: FrameObserver[ChangeT] = Unobserved(),  # noqa: B008  # it has no state
        option: str = "--cluster-socket",
    ) -> None:
        self._format, self._held, self._snapshot, self._option = format_, held, snapshot, option
        self._uid, self._patience, self._observer = uid, patience, observer
        self._seen = time.time()  # when an agent was there last, or we were not
        self._changed = asyncio.Event()
        self._working, self._writing = threading.Lock(), threading.Lock()
        self._turn = 0  # of the newest connection
        self._confirmed = self._over = False
        self._present: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        # Who connects again and again holds no more than this thread: those that calls are handled in are shared.
        self._taking = concurrent.futures.ThreadPoolExecutor(1, "taking-frames")

    def silence(self) -> float:
        """Return for how many seconds no agent has been connected; 0 while one is."""
        return 0.0 if self._present is not None and not self._present.done() else time.time() - self._seen

    def confirmed(self) -> bool:
        """Report whether the table is what an agent has sent, and not only that of the snapshot, which may be older."""
        return self._confirmed

    def tell(self, frame: bytes) -> None:
        """Send the agent something, if it is there and reads. Only for the loop's thread."""
        writer = self._writer
        if writer is not None and not writer.is_closing() and writer.transport.get_write_buffer_size() < _MOST_UNSENT:
            writer.write(frame)

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
                f"cannot listen at {path}: {error.strerror}", f"give {self._option} a folder that can be made"
            ) from error
        server = await asyncio.start_unix_server(self._accept, sock=listening)
        name = f"keeping the {self._format.name}' table"
        keeping = asyncio.create_task(tasks.keep(name, self._keep))
        try:
            yield
        finally:
            server.close()
            keeping.cancel()
            await self._hang_up()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
            self._taking.shutdown(wait=False)
            if self._changed.is_set():
                await tasks.once(name, asyncio.to_thread(self._write))

    def _restore(self) -> None:
        change = self._snapshot.read()
        try:
            if change is not None:
                self._held.take(change)
        except errors.SriovError as error:
            _log.error("the %s of the snapshot are not in force: %s", self._format.name, error)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection. The newest of the agent's is the one that counts: an older one is left over."""
        if self._over:  # it came while the socket was being closed
            writer.transport.abort()
            return
        uid = unix_sockets.peer_uid(writer.get_extra_info("socket"))
        if uid not in (0, self._uid):
            text = "user %d may not send %s, only user %d may; its connection is closed"
            _log.error(text, uid, self._format.name, self._uid)
            writer.transport.abort()
            return
        if self._present is not None:
            self._present.cancel()
        self._turn += 1
        self._writer = writer
        self._present = asyncio.create_task(self._receive(reader, self._turn))
        # Not in the task, which may be cancelled before its first step.
        self._present.add_done_callback(lambda _: writer.transport.abort())

    async def _receive(self, reader: asyncio.StreamReader, turn: int) -> None:
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

    async def _frames(self, reader: asyncio.StreamReader, turn: int) -> None:
        # asyncio.wait_for() may swallow a cancellation that comes with the answer (cpython issue 86296).
        async with asyncio.timeout(self._patience):
            head = await reader.read(1)
        first = True
        while head:
            async with asyncio.timeout(self._patience):
                body = await self._rest(reader, head)
            received = time.monotonic()
            taken = await self._taken(body, first, turn)
            if taken is not None:
                self._observer.took(taken, time.monotonic() - received)
            self._changed.set()
            first = False
            head = await reader.read(1)

    async def _taken(self, body: bytes, first: bool, turn: int) -> ChangeT | None:
        """In a thread, as a large table takes half a second. A connection that ends leaves what has not begun."""
        return await asyncio.get_running_loop().run_in_executor(self._taking, self._take, body, first, turn)

    def _refuse(self, why: str) -> None:
        self._observer.refused()
        if len(why) > _MOST_TOLD:
            why = f"{why[: _MOST_TOLD // 2]} … {why[-_MOST_TOLD // 2 :]}"
        text = "%s from the agent: %s; its connection is closed, the table stays as it was"
        _log.error(text, self._format.name, why)

    def _take(self, body: bytes, first: bool, turn: int) -> ChangeT | None:
        """Bring a frame into force, unless a newer connection has come: then None. Raises SriovError."""
        change = self._format.decoded(body)
        if first and not change.whole:
            raise errors.SriovError("the first frame is not the whole table", "is the agent of another release?")
        with self._working:
            if turn != self._turn:
                return None
            self._held.take(change)
            self._confirmed = True
            return change

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
            change = self._held.whole()
        with self._writing:
            self._snapshot.write(change)

    async def _hang_up(self) -> None:
        self._over = True
        if self._present is not None:
            self._present.cancel()
            await asyncio.wait([self._present])

    async def _rest(self, reader: asyncio.StreamReader, head: bytes) -> bytes:
        """Return a frame's body. Raises SriovError for a length that is not taken."""
        head += await reader.readexactly(framing.HEAD.size - len(head))
        return await reader.readexactly(self._format.length(head))


class Receiver(TableReceiver[services.TableChange]):
    """Of the Services' table."""

    def __init__(
        self,
        snapshot: table_store.Snapshot,
        apply: table_store.Apply = keep_only,
        uid: int = unix_sockets.AGENT_UID,
        patience: float = _PATIENCE,
        observer: FrameObserver[services.TableChange] = Unobserved(),  # noqa: B008  # it has no state
    ) -> None:
        self._services = table_store.HeldServices(apply)
        super().__init__(frames.FORMAT, self._services, snapshot, uid=uid, patience=patience, observer=observer)

    @property
    def table(self) -> services.Table:
        return self._services.table

    @property
    def ranges(self) -> tuple[str, ...]:
        return self._services.ranges
