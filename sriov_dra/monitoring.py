"""HTTP endpoint of the DRA driver: whether claims can be served, and metrics. Imported only if it is configured."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager

from prometheus_client import core, registry

from sriov.daemon import endpoint, http_address, pages, process_metrics
from sriov_dra import driver


class DriverMetrics(registry.Collector):
    """Numbers of a running driver, taken when they are asked for."""

    def __init__(self, running: driver.Driver) -> None:
        self._running = running

    def collect(self) -> Iterator[core.Metric]:
        preparer = self._running.preparer
        claims = core.CounterMetricFamily("sriov_dra_claims", "The kubelet's requests for claims.", labels=("result",))
        for result, count in (
            ("prepared", preparer.prepared),
            ("refused", preparer.refused),
            ("unprepared", preparer.unprepared),
            ("let-go", preparer.let_go),
        ):
            claims.add_metric((result,), count)
        yield claims
        publishing = self._running.publisher
        yield core.CounterMetricFamily(
            "sriov_dra_slice_writes",
            "Writes of ResourceSlices, also those that failed.",
            0 if publishing is None else publishing.writes,
        )
        yield core.GaugeMetricFamily(
            "sriov_dra_registered", "1 while a kubelet has registered the driver.", float(self._running.service.known)
        )
        yield from self._statuses()

    def _statuses(self) -> Iterator[core.Metric]:
        reporter = self._running.reporter
        yield core.CounterMetricFamily(
            "sriov_dra_status_writes", "Writes of claims' status, also those that failed.", reporter.writes
        )
        yield core.GaugeMetricFamily(
            "sriov_dra_status_late", "Claims whose status the API server has not been told yet.", reporter.late
        )


def serving(running: driver.Driver, where: http_address.Address) -> AbstractAsyncContextManager[None]:
    """Answer until the context ends. Raises SriovError if it cannot listen."""
    everything = process_metrics.registry("DRA driver")
    everything.register(DriverMetrics(running))
    everything.register(process_metrics.BackgroundTasks(running.tasks))

    async def problems() -> Sequence[str]:
        return running.problems()

    routes = pages.routes(problems, everything, lambda: None)
    return endpoint.serving(where, routes, "give --http an address that is free, and a folder that exists")
