"""Network policies, from the API server on. Needs root."""

from hack.benchmark import figures
from hack.benchmark.clusters import policies


def measure(namespaces: int = policies.NAMESPACES, changes: int = policies.CHANGES) -> list[figures.Figure]:
    """Measure with so many namespaces of a hundred pods and ten policies; takes half a minute with a hundred."""
    return policies.measure(namespaces, changes)
