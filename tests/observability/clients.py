"""Who asks a daemon over HTTP: a client that hides nothing of the answer."""

import asyncio
import socket

from observability import addresses


async def get(where: addresses.Address, path: str) -> tuple[int, str]:
    """Status code and body."""
    code, _, body = await sent(where, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return code, body


async def sent(where: addresses.Address, request: bytes) -> tuple[int, str, str]:
    """Status code, the rest of the head, and the body; code 0 where it was hung up on without an answer."""
    reader, writer = await connected(where)
    writer.write(request)
    try:
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    except ConnectionResetError:
        head = body = ""
    writer.close()
    return int(head.split()[1]) if head else 0, head, body


async def connected(where: addresses.Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(where, addresses.Unix):
        return await asyncio.open_unix_connection(where.path)
    return await asyncio.open_connection(where.host, where.port)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
