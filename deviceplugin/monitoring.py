"""The device plugin's endpoint: what is wrong with it, as it is now. Imported only where it is asked for."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from deviceplugin import plugin
from observability import addresses, endpoint, pages, registries


def serving(running: plugin.Plugin, where: addresses.Address) -> AbstractAsyncContextManager[None]:
    """Answer until the context ends. Raises SriovError where it cannot."""

    async def problems() -> Sequence[str]:
        return running.status().problems

    async def status() -> endpoint.Page:
        return endpoint.Page(200, running.status().as_json, "application/json")

    shared = pages.routes(problems, registries.registry("device plugin"))
    return endpoint.serving(where, {**shared, "/status": status})
