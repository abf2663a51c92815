"""HTTP endpoint: problems, status, and the same status as metrics. Imported only if it is configured.

The only labels of the metrics are the configuration's resources.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager

from prometheus_client import core, registry

from deviceplugin import plugin, status
from sriov.daemon import endpoint, http_address, pages, process_metrics

_RESOURCE = ("resource",)

_COUNTS: tuple[tuple[str, str, Callable[[status.ResourceStatus], int]], ...] = (
    ("registrations", "Registrations that a kubelet accepted.", lambda one: one.registrations),
    ("registration_failures", "Registrations that failed.", lambda one: one.failed_registrations),
)


class Metrics(registry.Collector):
    """Metrics of a status. `latest` is replaced as a whole, so that any thread may read it."""

    def __init__(self) -> None:
        self.latest = status.Status("", "")

    def collect(self) -> Iterator[core.Metric]:
        now = self.latest
        yield from _resources(now.resources)
        yield core.GaugeMetricFamily(
            "sriov_config_in_force",
            "0 while config.json is invalid and the previous configuration is in force.",
            float(not now.config_error),
        )
        reloads = core.CounterMetricFamily("sriov_config_reloads", "Changed configurations.", labels=("result",))
        reloads.add_metric(("applied",), now.reloads)
        reloads.add_metric(("refused",), now.refused_reloads)
        yield reloads


def _resources(listed: tuple[status.ResourceStatus, ...]) -> Iterator[core.Metric]:
    devices = core.GaugeMetricFamily(
        "sriov_resource_devices", "Devices of the resource.", labels=(*_RESOURCE, "health")
    )
    registered = core.GaugeMetricFamily(
        "sriov_resource_registered", "1 while the resource is registered with a kubelet.", labels=_RESOURCE
    )
    allocations = core.CounterMetricFamily(
        "sriov_resource_allocations", "The kubelet's requests for devices.", labels=(*_RESOURCE, "result")
    )
    for one in listed:
        devices.add_metric((one.name, "healthy"), one.healthy)
        devices.add_metric((one.name, "unhealthy"), one.devices - one.healthy)
        registered.add_metric((one.name,), float(one.registered))
        allocations.add_metric((one.name, "granted"), one.allocations)
        allocations.add_metric((one.name, "refused"), one.refused_allocations)
    yield from (devices, registered, allocations)
    for name, text, value in _COUNTS:
        family = core.CounterMetricFamily(f"sriov_resource_{name}", text, labels=_RESOURCE)
        for one in listed:
            family.add_metric((one.name,), value(one))
        yield family


def serving(running: plugin.Plugin, where: http_address.Address) -> AbstractAsyncContextManager[None]:
    """Answer until the context ends. Raises SriovError if it cannot listen."""
    numbers = Metrics()
    everything = process_metrics.registry("device plugin")
    everything.register(numbers)
    everything.register(process_metrics.BackgroundTasks(running.tasks))

    def refresh() -> None:
        numbers.latest = running.status()

    async def problems() -> Sequence[str]:
        return running.status().problems

    async def status_page(_accept: str) -> endpoint.Page:
        return endpoint.Page(200, running.status().as_json, "application/json")

    routes = {**pages.routes(problems, everything, refresh), "/status": status_page}
    return endpoint.serving(where, routes, "give --http an address that is free, and a folder that exists")
