"""Metrics of Services: whether they are reached, how full the tables are, and what comes from the agent.

Only a daemon that has Services shows them. Nothing here is on an ADD's way.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import prometheus_client
from prometheus_client import core, registry

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class ServicesCounter:
    """Counter of what the agent sends. For any thread."""

    def __init__(self, where: prometheus_client.CollectorRegistry) -> None:
        self._changes = prometheus_client.Histogram(
            "sriov_services_change_duration_seconds",
            "From the receipt of a change until it is in force for all pods.",
            registry=where,
            buckets=_BUCKETS,
        )
        self._last = prometheus_client.Gauge(
            "sriov_services_last_change_timestamp_seconds",
            "Time of the last change, 0 before the first.",
            registry=where,
        )
        self._refused = prometheus_client.Counter(
            "sriov_services_refused_changes", "Changes of the agent's that were not taken.", registry=where
        )
        self._ended = prometheus_client.Counter(
            "sriov_services_sockets_ended", "UDP sockets ended since their backend is gone.", registry=where
        )

    def changed(self, seconds: float) -> None:
        self._changes.observe(seconds)
        self._last.set(time.time())

    def refused(self) -> None:
        self._refused.inc()

    def ended(self, sockets: int) -> None:
        self._ended.inc(sockets)


class ServicesState(Protocol):
    """What is asked here of calls.Translation."""

    def problems(self) -> Sequence[str]: ...

    def usage(self) -> Mapping[str, tuple[int, int]]: ...


class ServicesInForce(registry.Collector):
    """Whether pods reach Services, and how full their tables are; the scrape's thread asks."""

    def __init__(self, translation: ServicesState) -> None:
        self._translation = translation

    def collect(self) -> Iterator[core.Metric]:
        yield core.GaugeMetricFamily(
            "sriov_services_effective",
            "1 while the programs for Services run and the last proof went well.",
            float(not self._translation.problems()),
        )
        entries = core.GaugeMetricFamily("sriov_services_entries", "Entries of the node's tables.", labels=("table",))
        capacity = core.GaugeMetricFamily("sriov_services_capacity", "Room in the node's tables.", labels=("table",))
        for table, (used, room) in self._translation.usage().items():
            entries.add_metric((table,), used)
            capacity.add_metric((table,), room)
        yield entries
        yield capacity


class AgentSilence(registry.Collector):
    def __init__(self, silence: Callable[[], float]) -> None:
        self._silence = silence

    def collect(self) -> Iterator[core.Metric]:
        yield core.GaugeMetricFamily(
            "sriov_services_agent_silence_seconds",
            "Seconds since the agent was connected, which is the age of the table; 0 while it is.",
            self._silence(),
        )
