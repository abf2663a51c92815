"""Metrics of the CNI daemon: calls and their steps as they end, and attached VFs as of the last look.

Every label has few values: commands, steps and codes of ours, and pods that hold a VF now, which are at most as many as
VFs.
"""

from collections.abc import Callable, Iterator

import prometheus_client
from prometheus_client import core, registry

from sriov import timing
from sriov_cni.monitoring import attached_vfs, counters
from sriov_cni.spec import cni_errors, environment

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_COMMANDS = frozenset(command.value for command in environment.Command)
_CODES = frozenset({0, *cni_errors.Code})
_LONGEST = 253  # characters of a label: a pod's name is a DNS name

_LABELS = ("pf", "vf", "pci", "namespace", "pod", "interface")


class PrometheusMeter:
    """Counters of events. Only the daemon's loop counts; any thread may read."""

    def __init__(self, where: prometheus_client.CollectorRegistry) -> None:
        self._calls = prometheus_client.Counter(
            "sriov_cni_calls", "Calls by their result: 0 is success.", ("command", "code"), registry=where
        )
        self._durations = prometheus_client.Histogram(
            "sriov_cni_call_duration_seconds",
            "From the shim's request until its answer is printed.",
            ("command",),
            registry=where,
            buckets=_BUCKETS,
        )
        self._steps = prometheus_client.Histogram(
            "sriov_cni_step_duration_seconds",
            "Steps of calls; some run at the same time.",
            ("command", "step"),
            registry=where,
            buckets=_BUCKETS,
        )
        self._retries = prometheus_client.Counter(
            "sriov_cni_kernel_retries", "Requests repeated because the kernel or a driver was busy.", registry=where
        )
        self._repairs = prometheus_client.Counter(
            "sriov_cni_repairs",
            "Attempts to restore a VF whose pod is gone without a DEL.",
            ("result",),
            registry=where,
        )
        self._choices = prometheus_client.Counter(
            "sriov_services_auto_choices", 'What services: "auto" was for pods.', ("mode",), registry=where
        )
        self._policies = prometheus_client.Counter(
            "sriov_cni_policy_repairs",
            "Rules of pods for their network policies that were changed in the pod, and restored.",
            registry=where,
        )
        self._failing = prometheus_client.Gauge(
            "sriov_cni_policies_failing",
            "Interfaces of pods whose rules for network policies are not what they are to be.",
            registry=where,
        )
        self._begin()

    def _begin(self) -> None:
        """Create every counter at the start: increase() does not see a counter that first appears as 1."""
        for result in ("restored", "failed"):
            self._repairs.labels(result)
        for mode in ("off", "socket", "host"):
            self._choices.labels(mode)
        for command in (*_COMMANDS, "unknown"):
            for code in (*(str(int(each)) for each in _CODES), "plugin"):
                self._calls.labels(command, code)

    def call(self, command: str, code: int, seconds: float, taken: timing.Steps) -> None:
        """Count a finished call. An IPAM plugin's code, which may be any number, counts as `plugin`."""
        known = command if command in _COMMANDS else "unknown"
        self._calls.labels(known, str(int(code)) if code in _CODES else "plugin").inc()
        self._durations.labels(known).observe(seconds)
        for step, took in taken.seconds.items():
            self._steps.labels(known, step.name.lower()).observe(took)
        self._retries.inc(taken.retries)

    def policies_repaired(self, count: int) -> None:
        self._policies.inc(count)

    def policies_failing(self, count: int) -> None:
        self._failing.set(count)

    def repaired(self, *, restored: bool) -> None:
        self._repairs.labels("restored" if restored else "failed").inc()

    def chose(self, mode: str) -> None:
        self._choices.labels(mode).inc()


_FAMILIES: tuple[tuple[str, str, Callable[[counters.Counters], int]], ...] = (
    ("receive_bytes", "Bytes that the VF's netdev received.", lambda each: each.received.bytes),
    ("receive_packets", "Packets that the VF's netdev received.", lambda each: each.received.packets),
    ("receive_errors", "Bad packets that the VF's netdev received.", lambda each: each.received.errors),
    ("receive_dropped", "Packets dropped or missed on receiving.", lambda each: each.received.dropped),
    ("transmit_bytes", "Bytes that the VF's netdev sent.", lambda each: each.sent.bytes),
    ("transmit_packets", "Packets that the VF's netdev sent.", lambda each: each.sent.packets),
    ("transmit_errors", "Packets that could not be sent.", lambda each: each.sent.errors),
    ("transmit_dropped", "Packets dropped before they were sent.", lambda each: each.sent.dropped),
)


class Holdings(registry.Collector):
    """Attached VFs, as the watcher last read them."""

    def __init__(self, latest: Callable[[], attached_vfs.Look]) -> None:
        self._latest = latest

    def collect(self) -> Iterator[core.Metric]:
        look = self._latest()
        labelled = [(_labels(each), each) for each in look.holdings]
        attached = core.GaugeMetricFamily("sriov_vf_attached", "1 for each VF that is in a pod.", labels=_LABELS)
        for labels, _ in labelled:
            attached.add_metric(labels, 1)
        yield attached
        yield core.GaugeMetricFamily(
            "sriov_vf_counters_unreadable",
            "VFs with a netdev in a pod whose namespace cannot be entered.",
            sum(each.counters is None and each.record.home is not None for each in look.holdings),
        )
        yield core.GaugeMetricFamily(
            "sriov_vf_not_taken_back",
            "VFs that could not be taken back from their pod when that was last tried.",
            sum(bool(each.record.problem) for each in look.holdings),
        )
        yield core.GaugeMetricFamily(
            "sriov_vf_look_timestamp_seconds", "Time of the last look at pods and counters.", look.at
        )
        counted = [(labels, each.counters) for labels, each in labelled if each.counters is not None]
        for name, text, value in _FAMILIES:
            family = core.CounterMetricFamily(f"sriov_vf_{name}", text, labels=_LABELS)
            for labels, numbers in counted:
                family.add_metric(labels, value(numbers))
            yield family


class PolicyInForce(registry.Collector):
    """Whether the node's policy is what its file says; `problem` is why not, and is called by the scrape's thread."""

    def __init__(self, problem: Callable[[], str | None]) -> None:
        self._problem = problem

    def collect(self) -> Iterator[core.Metric]:
        yield core.GaugeMetricFamily(
            "sriov_cni_policy_in_force",
            "0 while the policy is invalid: the last good one is in force, or every ADD is refused.",
            float(self._problem() is None),
        )


def _labels(one: attached_vfs.Holding) -> tuple[str, ...]:
    owner = one.record.owner
    return one.pf, one.vf, one.record.pci, owner.namespace[:_LONGEST], owner.pod[:_LONGEST], owner.ifname
