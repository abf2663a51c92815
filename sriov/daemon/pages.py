"""HTTP pages of both daemons: whether the process lives, whether it can serve, and its metrics."""

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable, Sequence

import prometheus_client
from prometheus_client import exposition

from sriov.daemon import endpoint

Problems = Callable[[], Awaitable[Sequence[str]]]
"""Returns what keeps a daemon from serving, a line for each; nothing if it is ready."""

_OPENMETRICS = "application/openmetrics-text"


def routes(
    problems: Problems, registry: prometheus_client.CollectorRegistry, refresh: Callable[[], None] = lambda: None
) -> endpoint.Routes:
    """Return the pages. The loop itself answers `/healthz`, which proves that it runs; a scrape calls `refresh`."""
    # Metrics of a thousand VFs take some 50 ms to write: done in a thread, and in one only, for any number of clients.
    thread = concurrent.futures.ThreadPoolExecutor(1, "scrape")

    async def health(_accept: str) -> endpoint.Page:
        return endpoint.Page(200, b"ok\n")

    async def ready() -> endpoint.Page:
        found = await problems()
        return endpoint.Page(503 if found else 200, "".join(f"{each}\n" for each in found or ["ok"]).encode())

    def metrics(accepted: str) -> Callable[[], Awaitable[endpoint.Page]]:
        encode, kind = exposition.choose_encoder(accepted)

        async def page() -> endpoint.Page:
            refresh()
            return endpoint.Page(200, await asyncio.get_running_loop().run_in_executor(thread, encode, registry), kind)

        return _one_at_a_time(page)

    readiness, text, openmetrics = _one_at_a_time(ready), metrics(""), metrics(_OPENMETRICS)
    return {
        "/healthz": health,
        "/readyz": lambda _accept: readiness(),
        "/metrics": lambda accept: (openmetrics if wants_openmetrics(accept) else text)(),
    }


def wants_openmetrics(accept: str) -> bool:
    """Report whether prometheus_client would answer this `Accept` header with OpenMetrics.

    Of its formats only two are served, so that no header of a client's makes a third page. It fails for a version that
    is no number (0.26.0).
    """
    try:
        _, kind = exposition.choose_encoder(accept)
    except (TypeError, ValueError):
        return False
    return kind.startswith(_OPENMETRICS)


def _one_at_a_time(make: Callable[[], Awaitable[endpoint.Page]]) -> Callable[[], Awaitable[endpoint.Page]]:
    """Share a page that is being made with all who ask meanwhile, so that no number of clients uses up the threads."""
    making: asyncio.Future[endpoint.Page] | None = None

    async def page() -> endpoint.Page:
        nonlocal making
        if making is None or making.done():
            making = asyncio.ensure_future(make())
            making.add_done_callback(lambda done: done.cancelled() or done.exception())  # maybe nobody waits any more
        return await asyncio.shield(making)

    return page
