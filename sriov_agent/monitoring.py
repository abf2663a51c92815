"""HTTP endpoint of the agent: whether the daemon has the cluster's present Services, and metrics.

Imported only if it is configured.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import core, registry

from sriov.daemon import endpoint, http_address, pages, process_metrics
from sriov_agent import agent

if TYPE_CHECKING:
    from sriov_agent.policies import feed as policy_feed

_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)


class AgentMetrics(registry.Collector):
    """Numbers of a running agent, taken when they are asked for."""

    def __init__(self, running: agent.Agent) -> None:
        self._running = running

    def collect(self) -> Iterator[core.Metric]:
        kind = ("kind",)
        objects = core.GaugeMetricFamily("sriov_agent_objects", "Objects of the cluster that are known.", labels=kind)
        for feed in self._running.feeds:
            for name, count in feed.view.counts().items():
                objects.add_metric((name,), count)
        events = core.CounterMetricFamily("sriov_agent_events", "Changes that the API server told.", labels=kind)
        ages = core.GaugeMetricFamily(
            "sriov_agent_last_event_age_seconds", "Seconds since the last of them.", labels=kind
        )
        failing = core.GaugeMetricFamily(
            "sriov_agent_watch_failing", "1 while this kind cannot be listed or watched.", labels=kind
        )
        for each in (watcher for feed in self._running.feeds for watcher in feed.watchers):
            events.add_metric((each.name,), each.events)
            failing.add_metric((each.name,), float(bool(each.problem) or not each.listed.is_set()))
            if each.events:
                ages.add_metric((each.name,), time.monotonic() - each.last_event)
        yield from (objects, events, ages, failing)
        table = self._running.view.table
        yield core.GaugeMetricFamily("sriov_agent_frontends", "Addresses and ports of Services.", len(table))
        yield core.GaugeMetricFamily(
            "sriov_agent_backends", "Backends of all of them.", sum(len(each.backends) for each in [*table.values()])
        )
        yield core.GaugeMetricFamily(
            "sriov_agent_connected",
            "1 while the CNI daemon takes what is sent.",
            float(self._running.services.sender.connected),
        )
        if self._running.policies is not None:
            yield from _of_policies(self._running.policies)


def _of_policies(feed: "policy_feed.PolicyFeed") -> Iterator[core.Metric]:
    held, rules, sets = feed.rules.fitted, feed.rules.rules, feed.rules.sets
    yield core.GaugeMetricFamily(
        "sriov_agent_policy_pods", "Pods of this node.", sum(1 for _, _, network in [*rules] if not network)
    )
    yield core.GaugeMetricFamily(
        "sriov_agent_policy_addresses",
        "Addresses that their policies select.",
        sum(len(each) for each in sets.values()),
    )
    yield core.GaugeMetricFamily(
        "sriov_agent_policy_oversized_pods",
        "Pods of this node whose policies are more than it takes, so that they are closed or unknown.",
        len(held.unknown | {place[:2] for place in held.closed}),
    )
    yield core.GaugeMetricFamily(
        "sriov_agent_policy_connected",
        "1 while the CNI daemon takes the policies that are sent.",
        float(feed.sender.connected),
    )


def registry_of(running: agent.Agent) -> prometheus_client.CollectorRegistry:
    """Return all metrics of an agent, which counts in them from now on."""
    everything = process_metrics.registry("agent")
    everything.register(AgentMetrics(running))
    everything.register(process_metrics.BackgroundTasks(running.tasks))
    running.services.latency = prometheus_client.Histogram(
        "sriov_agent_send_seconds", "From an event to the frame with what follows from it.",
        buckets=_BUCKETS, registry=everything,
    ).observe  # fmt: skip
    if running.policies is not None:
        running.policies.latency = prometheus_client.Histogram(
            "sriov_agent_policy_send_seconds", "From an event to the frame with the policies that follow from it.",
            buckets=_BUCKETS, registry=everything,
        ).observe  # fmt: skip
    return everything


def serving(running: agent.Agent, where: http_address.Address) -> AbstractAsyncContextManager[None]:
    """Answer until the context ends. Raises SriovError if it cannot listen."""
    everything = registry_of(running)

    async def problems() -> Sequence[str]:
        return running.problems()

    remedy = "give --http an address that is free, and a folder that exists"
    return endpoint.serving(where, pages.routes(problems, everything), remedy)
