"""A daemon's registry of metrics, with what is true of any process: its version, memory, descriptors, CPU."""

import prometheus_client

from sriov import versions


def registry(program: str) -> prometheus_client.CollectorRegistry:
    """A new one: prometheus_client's own is shared by all that a process imports."""
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each series, which nobody looks at
    made = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=made)
    build = prometheus_client.Info("sriov_build", "What runs here.", registry=made)
    build.info({"program": program, "version": versions.installed() or "unknown"})
    return made
