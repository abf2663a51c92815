"""Traffic between two pods that exist for it: created, waited for, measured and deleted, whatever happens."""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec

from sriov import errors
from sriovctl import output
from sriovctl.cluster import kubectl
from sriovctl.traffic import comparing, ends, plans, pods, tools

_PATIENCE = 30  # seconds that a tool may take beside its own
_PAUSE = 1.0  # seconds between two looks at pods that start

Ways = Mapping[str, tuple[str, str]]
"""By way: the pod's interface, and its address."""


def measure(
    client: kubectl.Kubectl, plan: plans.TrafficPlan, nodes: Sequence[Any], patience: float
) -> tuple[comparing.Taken, list[str]]:
    """Carry out the plan; returns the figures, and the pods that could not be deleted.

    Raises SriovError; the pods are deleted all the same.
    """
    left: list[str] = []
    with _ended_softly(), _existing(client, plan, nodes, left):
        sender, receiver = (_ready(client, plan, name, patience) for name in plan.pods)
        _listening(client, plan, patience)
        taken = _taken(client, plan, (_interfaces(sender, plan), _interfaces(receiver, plan)))
    return taken, left


@contextlib.contextmanager
def _ended_softly() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does, so that the pods are deleted."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _existing(
    client: kubectl.Kubectl, plan: plans.TrafficPlan, nodes: Sequence[Any], left: list[str]
) -> Iterator[None]:
    """Create the pods, and delete them, also where only one could be created. Those that are `left` are named."""
    try:
        client.create(pods.manifest(plan, nodes))
        yield
    finally:
        left += _not_deleted(client, plan)


def _not_deleted(client: kubectl.Kubectl, plan: plans.TrafficPlan) -> list[str]:
    """Delete the pods; returns those that may be there still, which are named also if Ctrl-C ends this, too."""
    names, trouble = [f"pod/{name}" for name in plan.pods], "it was ended"
    try:
        trouble = client.delete(plan.namespace, names)
    finally:
        if trouble:
            by_hand = f"kubectl delete --namespace={plan.namespace} {' '.join(names)}"
            output.complain(f"the pods could not be deleted: {trouble}; do it: {by_hand}")
    return names if trouble else []


def _ready(client: kubectl.Kubectl, plan: plans.TrafficPlan, name: str, patience: float) -> Any:
    """Return the pod once it is ready. Raises SriovError if it fails or takes too long."""
    click.echo(f"waiting for pod {name}", err=True)
    deadline = time.monotonic() + patience
    while not pods.is_ready(found := client.get(f"pod/{name}", f"--namespace={plan.namespace}")):
        if pods.has_failed(found) or time.monotonic() > deadline:
            how = "has failed" if pods.has_failed(found) else f"is not ready after {patience:g} s"
            raise errors.SriovError(
                f"pod {plan.namespace}/{name} {how}: {pods.reason(found)}",
                "has the node a free VF of the resource, and can it get the image? --timeout sets how long it may take",
            )
        time.sleep(_PAUSE)
    return found


def _interfaces(pod: Any, plan: plans.TrafficPlan) -> Ways:
    try:
        return pods.interfaces(pod, plan.network)
    except ValueError as error:
        about = f"pod {plan.namespace}/{pod['metadata']['name']} cannot be measured: {error}"
        raise errors.SriovError(about, "the network needs an IPAM plugin that gives IPv4 addresses") from error


def _listening(client: kubectl.Kubectl, plan: plans.TrafficPlan, patience: float) -> None:
    files = [f"/proc/net/{each}" for each in ("tcp", "tcp6", "udp", "udp6")]
    deadline = time.monotonic() + patience
    # A node without IPv6 has not all of the files: cat complains, and prints the others.
    while not tools.listening(client.run(_place(plan, 1), ["cat", *files]).out) >= tools.LISTENS:
        if time.monotonic() > deadline:
            raise errors.SriovError(
                f"in pod {plan.namespace}/{plan.pods[1]} not all of {', '.join(tools.SERVERS)} listen",
                f"are they in the image {plan.image}? kubectl logs shows what they say",
            )
        time.sleep(_PAUSE)


def _taken(client: kubectl.Kubectl, plan: plans.TrafficPlan, ways: tuple[Ways, Ways]) -> comparing.Taken:
    pair = _Pair(client, plan, ways)
    taken: dict[str, dict[str, list[float]]] = {way: {} for way in plans.WAYS}
    turns = [(way, each) for _ in range(plan.rounds) for each in tools.EVERY for way in plans.WAYS]
    before = pair.look()
    with click.progressbar(turns, label="measuring traffic", file=sys.stderr, show_pos=True) as shown:
        for way, each in shown:
            printed, after = pair.run(way, each), pair.look()
            for key, value in _values(way, each, printed, before[way], after[way]).items():
                taken[way].setdefault(key, []).append(value)
            before = after
    return taken


def _values(
    way: str, measurement: tools.Measurement, printed: str, before: ends.BothEnds, after: ends.BothEnds
) -> Mapping[str, float]:
    try:
        reading = measurement.read(printed)
        return {**reading.values, **ends.checked_shares(before, after, reading)}
    except ValueError as error:
        raise errors.SriovError(
            f"{plans.WAYS[way]}, {measurement.about}: {error}",
            "is the way from node to node open, and the network sound?",
        ) from error


class _Pair:
    """Both pods, while they run."""

    def __init__(self, client: kubectl.Kubectl, plan: plans.TrafficPlan, ways: tuple[Ways, Ways]) -> None:
        self._client, self._plan, self._ways = client, plan, ways

    def run(self, way: str, measurement: tools.Measurement) -> str:
        """Return what the tool printed at the sender; of one that failed, also what it complained of."""
        _, address = self._ways[1][way]
        client = msgspec.structs.replace(self._client, seconds=self._plan.load.seconds + _PATIENCE)
        done = client.run(_place(self._plan, 0), measurement.command(address, self._plan.load))
        return done.out if done.status == 0 else f"{done.out}\n{done.err}"

    def look(self) -> Mapping[str, ends.BothEnds]:
        """Return of each way what the sender's interface has sent and the receiver's received, and the nodes' work."""
        sender, receiver = self._look(0, "tx_bytes"), self._look(1, "rx_bytes")
        return {way: (sender[way], receiver[way]) for way in self._ways[0]}

    def _look(self, end: int, counter: str) -> Mapping[str, ends.MeasuredEnd]:
        counters = [f"/sys/class/net/{name}/statistics/{counter}" for name, _ in self._ways[end].values()]
        done = self._client.run(_place(self._plan, end), ["cat", *counters, "/proc/stat", "/proc/uptime"])
        try:
            return dict(zip(self._ways[end], ends.every(done.out, len(counters)), strict=True))
        except ValueError as error:
            about = f"pod {self._plan.namespace}/{self._plan.pods[end]} does not show its counters"
            raise errors.SriovError(f"{about}: {done.trouble or error}", "does kubectl exec work in it?") from error


def _place(plan: plans.TrafficPlan, end: int) -> kubectl.Place:
    return kubectl.Place(plan.namespace, plan.pods[end], (pods.SENDER, next(iter(tools.SERVERS)))[end])
