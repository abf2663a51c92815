"""Kubelets of the stand-in cluster: controllers start and stop pods on them, the API server runs commands in pods."""

import dataclasses
from typing import Protocol

from tests.fakes.cluster.kinds import Object


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str = ""


class Kubelets(Protocol):
    """What these methods raise ends the caller."""

    def started(self, pod: Object) -> dict[str, str]:
        """Start the pod; returns what its node offers from now on because of it: the count of each resource."""

    def stopped(self, pod: Object) -> None: ...

    def said(self, pod: Object, container: str) -> str: ...

    def run(self, pod: Object, container: str, command: list[str], sent: str) -> Ended:
        """Run the command, with what it is sent on its standard input. Raises RefusedError if it cannot be run."""
