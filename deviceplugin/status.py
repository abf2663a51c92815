"""The health endpoint: whether every resource is known to the kubelet and the configuration is in force.

Off unless asked for. HTTP on 127.0.0.1, for a probe of a pod in the host's network, or on a unix socket:
GET /livez is 200 while the process answers, GET /healthz is 200 or 503 with a line for each problem, GET /status is
all of it as JSON. Nothing can be changed through it.
"""

import asyncio
import dataclasses
import json
import pathlib
from collections.abc import Callable

from sriov import errors

_REASONS = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}
_PATIENCE = 5.0  # seconds for a request


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceStatus:
    """`registered`: a kubelet has taken it; `watched`: by how many streams."""

    name: str
    devices: int
    healthy: int
    registered: bool
    watched: int


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """`config_error` is what is wrong with the file that is not in force; empty where it is."""

    config_file: str
    config_error: str
    resources: tuple[ResourceStatus, ...]

    @property
    def problems(self) -> list[str]:
        unknown = [f"{one.name} is not registered with the kubelet" for one in self.resources if not one.registered]
        kept = f"the configuration in force is an older one: {self.config_error}"
        return ([kept] if self.config_error else []) + unknown


def answer(path: str, status: Status) -> tuple[int, str]:
    """Status code and body for a path."""
    if path == "/livez":
        return 200, "ok\n"
    if path == "/healthz":
        problems = status.problems
        return (503, "".join(f"{each}\n" for each in problems)) if problems else (200, "ok\n")
    if path == "/status":
        return 200, json.dumps(dataclasses.asdict(status) | {"problems": status.problems}, indent=1) + "\n"
    return 404, "there are /livez, /healthz and /status\n"


async def serve(where: str, current: Callable[[], Status]) -> None:
    """Answer at `127.0.0.1:PORT` or `unix:PATH`, without an end. Raises SriovError where it cannot."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await _reply(reader, writer, current)
        except (OSError, TimeoutError, ValueError):
            pass  # the client's fault, and the client's loss
        finally:
            writer.close()

    try:
        server = await _listen(where, handle)
    except (OSError, ValueError) as error:
        remedy = "write 127.0.0.1:PORT with a free port, or unix:PATH"
        raise errors.SriovError(f"cannot serve health at {where}: {error}", remedy) from error
    async with server:
        await server.serve_forever()


_Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


async def _listen(where: str, handle: _Handler) -> asyncio.Server:
    if where.startswith("unix:"):
        path = pathlib.Path(where.removeprefix("unix:"))
        path.unlink(missing_ok=True)
        return await asyncio.start_unix_server(handle, path)  # type: ignore[arg-type]
    host, _, port = where.rpartition(":")
    return await asyncio.start_server(handle, host, int(port))  # type: ignore[arg-type]


async def _reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, current: Callable[[], Status]) -> None:
    request = (await reader.readline()).decode("latin-1").split()
    while (await reader.readline()).strip():
        pass
    code, body = answer(request[1] if len(request) > 1 else "", current())
    kind = "application/json" if body.startswith("{") else "text/plain; charset=utf-8"
    content = body.encode()
    head = f"HTTP/1.1 {code} {_REASONS[code]}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + content)
    await writer.drain()
