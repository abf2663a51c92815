"""The device plugin's endpoint: what is wrong with it, and its metrics. Imported only where it is asked for."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from deviceplugin import metrics, plugin
from observability import addresses, endpoint, pages, registries


def serving(running: plugin.Plugin, where: addresses.Address) -> AbstractAsyncContextManager[None]:
    """Answer until the context ends. Raises SriovError where it cannot."""
    numbers = metrics.Metrics()
    registry = registries.registry("device plugin")
    registry.register(numbers)
    registry.register(registries.BackgroundTasks(running.tasks))

    def refresh() -> None:
        numbers.latest = running.status()

    async def problems() -> Sequence[str]:
        return running.status().problems

    async def status() -> endpoint.Page:
        return endpoint.Page(200, running.status().as_json, "application/json")

    return endpoint.serving(where, {**pages.routes(problems, registry, refresh), "/status": status})
