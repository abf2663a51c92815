"""Registry of a daemon's metrics, with those of any process: version, memory, descriptors, CPU."""

from collections.abc import Iterator

import prometheus_client
from prometheus_client import core
from prometheus_client import registry as collectors

from sriov import versions
from sriov.daemon import background


def registry(program: str) -> prometheus_client.CollectorRegistry:
    """Make a new registry: prometheus_client's own is shared by all that a process imports."""
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each series, which nobody looks at
    made = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=made)
    build = prometheus_client.Info("sriov_build", "Program and version.", registry=made)
    build.info({"program": program, "version": versions.installed() or "unknown"})
    return made


class BackgroundTasks(collectors.Collector):
    """Failures of the daemon's background tasks. The tasks are few, and their names fixed."""

    def __init__(self, tasks: background.Background) -> None:
        self._tasks = tasks

    def collect(self) -> Iterator[core.Metric]:
        failing = core.GaugeMetricFamily(
            "sriov_background_failing", "1 while this background task fails.", labels=("task",)
        )
        failures = core.CounterMetricFamily(
            "sriov_background_failures", "Failures of background tasks.", labels=("task",)
        )
        for name, task in self._tasks.tasks:
            failing.add_metric((name,), float(bool(task.problem)))
            failures.add_metric((name,), task.failures)
        yield from (failing, failures)
