"""What the stand-in cluster wants of its nodes: controllers start and stop pods there, the API server asks of them."""

from typing import Protocol

from tests.fakes.cluster.kinds import Object


class Kubelets(Protocol):
    """What they raise ends who has asked."""

    def started(self, pod: Object) -> dict[str, str]:
        """What its node has for others from now on, by this pod: how many of each resource."""

    def stopped(self, pod: Object) -> None: ...

    def said(self, pod: Object, container: str) -> str: ...

    def run(self, pod: Object, container: str, command: list[str]) -> tuple[str, int]:
        """What it writes, and its exit status."""
