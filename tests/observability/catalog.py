"""Every metric that the code has, by the names that Prometheus sees."""

import pathlib
from collections.abc import Iterator

import prometheus_client
from prometheus_client import core

from deviceplugin import metrics as plugins
from observability import background, registries
from sriov_cni import holdings
from sriov_cni import metrics as daemons

_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
ROOT = pathlib.Path(__file__).parents[2]


def names() -> dict[str, str]:
    """What each is, by its name: of both daemons, and of Prometheus' own that a process has."""
    return {f"{each.name}{suffix}": each.documentation for each in _families() for suffix in _suffixes(each)}


def ours() -> set[str]:
    """Names as the page lists them: a histogram once."""
    found = {each.name + ("_total" if each.type == "counter" else "") for each in _families()}
    found = {name for name in found if name.startswith("sriov_")}
    return found - {"sriov_build"} | {"sriov_build_info"}


def _families() -> Iterator[core.Metric]:
    for registry in (_daemon(), _plugin()):
        yield from registry.collect()


def _suffixes(family: core.Metric) -> tuple[str, ...]:
    return _SUFFIXES.get(family.type, ("",))


def _daemon() -> prometheus_client.CollectorRegistry:
    made = registries.registry("CNI daemon")
    daemons.Meter(made)
    made.register(daemons.Holdings(holdings.Look))
    made.register(registries.BackgroundTasks(background.Background()))
    return made


def _plugin() -> prometheus_client.CollectorRegistry:
    made = registries.registry("device plugin")
    made.register(plugins.Metrics())
    made.register(registries.BackgroundTasks(background.Background()))
    return made
