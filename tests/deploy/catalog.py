"""Every metric that the code has, by the names that Prometheus sees."""

import pathlib
import types
from collections.abc import AsyncIterator, Callable, Iterator

import prometheus_client
from prometheus_client import core

from deviceplugin import monitoring as plugins
from sriov.apiserver import connection
from sriov.daemon import background, process_metrics
from sriov_agent import agent, objects
from sriov_agent import monitoring as agents
from sriov_agent.policies import feed
from sriov_cni.monitoring import attached_vfs, policies_metrics, services_metrics
from sriov_cni.monitoring import metrics as daemons
from sriov_dra import monitoring as drivers

_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
ROOT = pathlib.Path(__file__).parents[2]


def names() -> dict[str, str]:
    """What each is, by its name: of the four programs, and of Prometheus' own that a process has."""
    return {f"{each.name}{suffix}": each.documentation for each in _families() for suffix in _suffixes(each)}


def ours() -> set[str]:
    """Names as the page lists them: a histogram once."""
    found = {each.name + ("_total" if each.type == "counter" else "") for each in _families()}
    found = {name for name in found if name.startswith("sriov_")}
    return found - {"sriov_build"} | {"sriov_build_info"}


def registries() -> tuple[prometheus_client.CollectorRegistry, ...]:
    """Each program's."""
    return _daemon(), _plugin(), _agent(), _driver()


def _families() -> Iterator[core.Metric]:
    for registry in registries():
        yield from registry.collect()


def _suffixes(family: core.Metric) -> tuple[str, ...]:
    return _SUFFIXES.get(family.type, ("",))


def _daemon() -> prometheus_client.CollectorRegistry:
    made = process_metrics.registry("CNI daemon")
    daemons.PrometheusMeter(made)
    made.register(daemons.Holdings(attached_vfs.Look))
    made.register(daemons.PolicyInForce(lambda: None))
    made.register(process_metrics.BackgroundTasks(background.Background()))
    services_metrics.ServicesCounter(made)
    made.register(services_metrics.AgentSilence(lambda: 0.0))
    made.register(services_metrics.ServicesInForce(_NoServices()))
    policies_metrics.PoliciesMeter(made, dict)
    return made


class _NoServices:
    """Reaches what there is, which is nothing."""

    def problems(self) -> list[str]:
        return []

    def usage(self) -> dict[str, tuple[int, int]]:
        return {}


def _plugin() -> prometheus_client.CollectorRegistry:
    made = process_metrics.registry("device plugin")
    made.register(plugins.Metrics())
    made.register(process_metrics.BackgroundTasks(background.Background()))
    return made


class _NoCluster:
    """Nothing is asked."""

    async def list(self, kind: connection.WatchedKind, put: Callable[[objects.AnyObject], None]) -> str:
        raise NotImplementedError(kind, put)

    async def get(self, kind: connection.WatchedKind, namespace: str, name: str) -> objects.AnyObject:
        raise NotImplementedError(kind, namespace, name)

    def watch(self, kind: connection.WatchedKind, version: str) -> AsyncIterator[tuple[str, objects.AnyObject]]:
        raise NotImplementedError(kind, version)


def _agent() -> prometheus_client.CollectorRegistry:
    where = feed.FeedTarget("node", pathlib.Path("policies.sock"))
    policies = feed.PolicyFeed(where, _NoCluster(), print)
    return agents.registry_of(agent.Agent("node", _NoCluster(), pathlib.Path("agent.sock"), policies))


def _driver() -> prometheus_client.CollectorRegistry:
    """Of one that has done nothing yet."""
    idle = types.SimpleNamespace(
        preparer=types.SimpleNamespace(prepared=0, refused=0, unprepared=0, let_go=0),
        publisher=None,
        service=types.SimpleNamespace(known=False),
        reporter=types.SimpleNamespace(writes=0, late=0),
    )
    made = process_metrics.registry("DRA driver")
    made.register(drivers.DriverMetrics(idle))  # type: ignore[arg-type]
    made.register(process_metrics.BackgroundTasks(background.Background()))
    return made
