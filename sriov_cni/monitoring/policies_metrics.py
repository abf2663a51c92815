"""Metrics of policies: how full the table is, what comes from the agent, and whom nothing holds to them."""

from collections.abc import Callable, Iterator, Mapping

import prometheus_client
from prometheus_client import core, registry

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class PoliciesMeter(registry.Collector):
    """Observer of the agent's frames. `usage` and `silence` are called by scrapes; `silence` is to be set."""

    def __init__(
        self, where: prometheus_client.CollectorRegistry, usage: Callable[[], Mapping[str, tuple[int, int]]]
    ) -> None:
        self._usage = usage
        self.silence: Callable[[], float] = lambda: 0.0
        self._changes = prometheus_client.Histogram(
            "sriov_policies_change_duration_seconds",
            "From the receipt of a change until it is in the daemon's table.",
            registry=where,
            buckets=_BUCKETS,
        )
        self._refused = prometheus_client.Counter(
            "sriov_policies_refused_changes", "Changes of the agent's that were not taken.", registry=where
        )
        where.register(self)

    def took(self, change: object, seconds: float) -> None:  # noqa: ARG002  # a histogram of all
        self._changes.observe(seconds)

    def refused(self) -> None:
        self._refused.inc()

    def collect(self) -> Iterator[core.Metric]:
        entries = core.GaugeMetricFamily("sriov_policies_entries", "Entries of the table.", labels=("table",))
        capacity = core.GaugeMetricFamily("sriov_policies_capacity", "Room in the table.", labels=("table",))
        for table, (used, room) in self._usage().items():
            entries.add_metric((table,), used)
            capacity.add_metric((table,), room)
        yield entries
        yield capacity
        yield core.GaugeMetricFamily(
            "sriov_policies_agent_silence_seconds",
            "Seconds since the agent was connected, which is the age of the table; 0 while it is.",
            self.silence(),
        )
