"""HTTP client of a daemon, which hides nothing of the answer."""

import asyncio
import socket
from collections.abc import Mapping

from prometheus_client import parser
from prometheus_client.openmetrics import parser as strict

from sriov.daemon import http_address

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
"""Values by name and labels."""


async def get(where: http_address.Address, path: str) -> tuple[int, str]:
    """Status code and body."""
    code, _, body = await sent(where, f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    return code, body


async def sent(where: http_address.Address, request: bytes) -> tuple[int, str, str]:
    """Status code, the rest of the head, and the body; code 0 where it was hung up on without an answer."""
    reader, writer = await connected(where)
    writer.write(request)
    try:
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    except ConnectionResetError:
        head = body = ""
    writer.close()
    return int(head.split()[1]) if head else 0, head, body


async def connected(where: http_address.Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(where, http_address.Unix):
        return await asyncio.open_unix_connection(where.path)
    return await asyncio.open_connection(where.host, where.port)


async def scrape(where: http_address.Address) -> Samples:
    """What a scrape finds, read as Prometheus' own library reads it."""
    code, text = await get(where, "/metrics")
    assert code == 200, text
    return samples(text)


def samples(text: str, *, openmetrics: bool = False) -> Samples:
    """Read a page. The parser of OpenMetrics is strict."""
    read = strict.text_string_to_metric_families if openmetrics else parser.text_string_to_metric_families
    families = read(text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    """Of the one series that has these labels, and perhaps others. Raises ValueError where there is not just one."""
    [found] = values(samples, name, **labels)
    return found


def values(samples: Samples, name: str, **labels: str) -> list[float]:
    wanted = labels.items()
    return [number for (known, given), number in samples.items() if known == name and given >= wanted]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
