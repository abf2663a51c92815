"""A daemon's HTTP endpoint: GET, a page for a path, nothing that can be changed. Off unless asked for.

It answers on the daemon's own loop, so that an answer shows that the loop lives; what takes time is the page's to do
elsewhere. Refuses to be a web server: no keep-alive, no other method, few connections at a time, five seconds for each.
"""

import asyncio
import contextlib
import dataclasses
import http
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from observability import addresses
from sriov import errors, sockets

_PATIENCE = 5.0  # seconds for a request and its page
_CONNECTIONS = 32  # more than kubelet and Prometheus ever have; descriptors are for calls and streams

TEXT = "text/plain; charset=utf-8"


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    code: int
    body: bytes
    kind: str = TEXT


Routes = Mapping[str, Callable[[], Awaitable[Page]]]
"""A path to what makes its page."""


@contextlib.asynccontextmanager
async def serving(where: addresses.Address, routes: Routes) -> AsyncIterator[None]:
    """Answer until the context ends. Raises SriovError where it cannot."""
    try:
        server = await _Endpoint(routes).listen(where)
    except OSError as error:
        remedy = "give --http an address that is free, and a folder that exists"
        raise errors.SriovError(f"cannot serve HTTP at {where}: {error.strerror or error}", remedy) from error
    ours = _inode(where)
    try:
        yield
    finally:
        server.close()
        # A successor may have taken the name over already.
        if isinstance(where, addresses.Unix) and ours is not None and _inode(where) == ours:
            where.path.unlink(missing_ok=True)


def _inode(where: addresses.Address) -> int | None:
    try:
        return where.path.stat().st_ino if isinstance(where, addresses.Unix) else None
    except OSError:
        return None


class _Endpoint:
    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._open = 0

    async def listen(self, where: addresses.Address) -> asyncio.Server:
        if isinstance(where, addresses.Unix):
            return await asyncio.start_unix_server(self._handle, sock=sockets.listen(pathlib.Path(where.path)))
        return await asyncio.start_server(self._handle, where.host, where.port)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _CONNECTIONS:
                async with asyncio.timeout(_PATIENCE):
                    await self._reply(reader, writer)
        except (OSError, TimeoutError, ValueError):
            pass  # the client's fault, and the client's loss
        finally:
            self._open -= 1
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, _, rest = (await reader.readline()).decode("latin-1").partition(" ")
        while (await reader.readline()).strip():
            pass
        page = await self._page(method, rest.partition(" ")[0].partition("?")[0])
        writer.write(head(page) + page.body)
        await writer.drain()

    async def _page(self, method: str, path: str) -> Page:
        if method != "GET":
            return Page(405, b"GET is all there is\n")
        if path not in self._routes:
            return Page(404, f"there are {', '.join(sorted(self._routes))}\n".encode())
        return await self._routes[path]()


def head(page: Page) -> bytes:
    """The page's status line and headers."""
    lines = [
        f"HTTP/1.1 {page.code} {http.HTTPStatus(page.code).phrase}",
        f"Content-Type: {page.kind}",
        f"Content-Length: {len(page.body)}",
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
