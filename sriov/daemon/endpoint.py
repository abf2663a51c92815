"""HTTP endpoint of a daemon: GET only, a page for each path, nothing that can be changed. Off by default.

It answers on the daemon's own loop, so that an answer proves that the loop runs; a page does slow work elsewhere. It is
no web server: no keep-alive, no other method, few connections at a time, five seconds for each.

Everybody in the host's network may connect, also a pod with `hostNetwork`, and all come from one address there. So no
connection is refused: if there are too many, the oldest is closed. Few are accepted in one turn of the loop, and a
client's request comes with its connection, so it is read before enough others are accepted to close it.
"""

import asyncio
import contextlib
import http
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec

from sriov import errors
from sriov.daemon import http_address, unix_sockets

_PATIENCE = 5.0  # seconds for a request and its page
_CONNECTIONS = 64  # more than kubelet and Prometheus ever open; descriptors are for calls and streams
_AT_ONCE = 8  # connections that asyncio accepts in one turn (its `backlog`); a request is read two turns later
_QUEUE = 512  # connections that wait in the kernel meanwhile
_LINES = 100  # of a request's head

TEXT = "text/plain; charset=utf-8"


class Page(msgspec.Struct, frozen=True):
    code: int
    body: bytes
    kind: str = TEXT


Maker = Callable[[str], Awaitable[Page]]
"""Makes a page for a request whose `Accept` header is the argument, "" if it has none."""

Routes = Mapping[str, Maker]
"""Path to the function that makes its page."""


@contextlib.asynccontextmanager
async def serving(where: http_address.Address, routes: Routes, remedy: str = "") -> AsyncIterator[None]:
    """Answer until the context ends. Raises SriovError with this remedy if it cannot."""
    endpoint = _Endpoint(routes)
    try:
        server = await endpoint.listen(where)
    except OSError as error:
        raise errors.SriovError(f"cannot serve HTTP at {where}: {error.strerror or error}", remedy) from error
    ours = _inode(where)
    try:
        yield
    finally:
        server.close()
        # A successor may have bound the same path meanwhile.
        if isinstance(where, http_address.Unix) and ours is not None and _inode(where) == ours:
            where.path.unlink(missing_ok=True)
        await endpoint.hang_up()


def _inode(where: http_address.Address) -> int | None:
    try:
        return where.path.stat().st_ino if isinstance(where, http_address.Unix) else None
    except OSError:
        return None


class _Endpoint:
    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._open: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._over = False

    async def listen(self, where: http_address.Address) -> asyncio.Server:
        if isinstance(where, http_address.Unix):
            listening = unix_sockets.listen(pathlib.Path(where.path))
            server = await asyncio.start_unix_server(self._take, sock=listening, backlog=_AT_ONCE)
        else:
            server = await asyncio.start_server(self._take, where.host, where.port, backlog=_AT_ONCE)
        for each in server.sockets:
            with each.dup() as same:
                same.listen(_QUEUE)  # a second listen(2) changes how many may wait, whatever asyncio has set
        return server

    async def hang_up(self) -> None:
        """Close what is open: nobody waits for an answer of a daemon that is being stopped."""
        self._over = True
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection. No coroutine: asyncio prints a trace for one that is cancelled (CPython 3.11)."""
        if self._over:
            writer.transport.abort()
            return
        if len(self._open) >= _CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        task = asyncio.create_task(self._handle(reader, writer))
        self._open[task] = None
        task.add_done_callback(lambda done: self._open.pop(done, None))

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._reply(reader, writer)
        except (OSError, TimeoutError, ValueError):
            pass  # the client's fault
        except asyncio.CancelledError:
            writer.transport.abort()  # the task ends here in any case: it is its outermost function
        finally:
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, _, rest = (await reader.readline()).decode("latin-1").partition(" ")
        accept = await _accept(reader)
        page = await self._page(method, rest.partition(" ")[0].partition("?")[0], accept)
        writer.write(head(page) + page.body)
        await writer.drain()

    async def _page(self, method: str, path: str, accept: str) -> Page:
        if method != "GET":
            return Page(405, b"only GET is supported\n")
        if path not in self._routes:
            return Page(404, f"there are {', '.join(sorted(self._routes))}\n".encode())
        return await self._routes[path](accept)


async def _accept(reader: asyncio.StreamReader) -> str:
    """Read the request's headers. Returns what the client accepts; several headers are one list (RFC 9110)."""
    accepted = []
    for _line in range(_LINES):
        name, _, value = (await reader.readline()).decode("latin-1").strip().partition(":")
        if not name:
            break
        if name.lower() == "accept":
            accepted.append(value.strip())
    return ",".join(accepted)


def head(page: Page) -> bytes:
    """Encode the page's status line and headers."""
    lines = [
        f"HTTP/1.1 {page.code} {http.HTTPStatus(page.code).phrase}",
        f"Content-Type: {page.kind}",
        f"Content-Length: {len(page.body)}",
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
