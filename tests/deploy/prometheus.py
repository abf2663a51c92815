"""Prometheus and promtool from Debian's archive, unpacked and never installed: installed, it is a service at once."""

from tests.lab import stores

STORE = stores.Store(
    "prometheus",
    "Prometheus",
    lambda apt, shown: apt.download_alone(["prometheus"], "Prometheus", shown),
    lambda name: name == "prometheus",
)
SERVER, TOOL = "usr/bin/prometheus", "usr/bin/promtool"
