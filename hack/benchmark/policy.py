"""Policies: an ADD with `policy` beside one without, compiling a large cluster's, and a change in force in 100 pods.

Veths are the VFs of the ADDs (`stages.rounds`). Needs root.
"""

import contextlib
import functools
import json
import pathlib
import tempfile
import time
from collections.abc import Callable

from hack.benchmark import figures
from hack.benchmark.clusters import policies as policy_clusters
from hack.benchmark.stages import rounds, stage, veths
from sriov.cluster import pod_policies, policies
from sriov.linux import netlink
from sriov_cni.dataplane.policies import policy_enforcer
from tests.fakes import policy_source
from tests.kernel import namespaces
from tests.sriov_cni import harness

ADDS, HELD = 300, 100
_CHANGES, _PEERS = 50, 200
_WARM = 10  # rounds, until the daemon has imported what it needs
_SET = "0123456789abcdef"
_PLACES = {"selected": policies.Rules(("web",), ("web",)), "unselected": policies.Rules()}
_WAYS: dict[str, tuple[dict[str, str], str]] = {
    "add": ({}, "unselected"),
    "unselected_add": ({"policy": "kubernetes"}, "unselected"),
    "selected_add": ({"policy": "kubernetes"}, "selected"),
}
"""Keys of the network, and the pod."""


def measure(
    adds: int = ADDS,
    namespaces_: int = policy_clusters.NAMESPACES,
    changes: int = policy_clusters.CHANGES,
    held: int = HELD,
) -> list[figures.Figure]:
    """Measure so many ADDs of each kind, alternately, a cluster of so many namespaces, and pods of a node: a minute."""
    return [*_adds(adds), *policy_clusters.measure(namespaces_, changes), *_in_force(held)]


def _table(addresses: int) -> policies.PolicyTable:
    ports = (policies.PortSpan(policies.Transport.TCP, 8080, 8080),)
    grant = policies.Grant("x/web", (policies.Opening((_SET,), ports=ports),))
    rules = {("x", pod, ""): each for pod, each in _PLACES.items()}
    return policies.PolicyTable({_SET: frozenset(map(_address, range(addresses)))}, {"web": grant}, rules)


def _address(number: int) -> bytes:
    return bytes((10, 200, number >> 8, number & 255))


def _adds(count: int) -> list[figures.Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "policies")
        policy_source.write(path, _table(_PEERS))
        with veths.opened(1, options=("--policies", str(path))) as bench:
            ways = {way: functools.partial(_add, bench, *asked) for way, asked in _WAYS.items()}
            measured = rounds.taken(ways, count, _WARM)
    taken = {way: [took for took, _ in each] for way, each in measured.items()}
    spent = {way: [computed for _, computed in each] for way, each in measured.items()}
    found = [figures.Figure(f"{way}_ms_p50", figures.percentile(each, 0.5)) for way, each in taken.items()]
    for way, target in (("unselected_add", 0.5), ("selected_add", 2.0)):
        more, computed = (rounds.more(each[way], each["add"]) for each in (taken, spent))
        found.append(figures.Figure(f"{way}_more_ms_p50", more, target, f"{_PEERS} addresses"))
        found.append(figures.Figure(f"{way}_more_cpu_ms_p50", computed, None, "the daemon's, without waits for RCU"))
    return found


def _add(bench: stage.Stage, keys: dict[str, str], name: str, pod: namespaces.Namespace) -> tuple[float, float]:
    """Return milliseconds of the ADD, and of the daemon's CPU time in it."""
    [link] = bench.links
    stdin = json.dumps(harness.configuration(link.pci, **keys)).encode()
    env = {"CONTAINERID": "c1", "IFNAME": "net1", "PATH": "/", "NETNS": pod.path}
    env["ARGS"] = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME={name}"
    computed, began = bench.daemon.cpu(), time.perf_counter()
    harness.call_without_a_process(bench.daemon.socket, stdin, COMMAND="ADD", **env)
    took, computed = (time.perf_counter() - began) * 1000, bench.daemon.cpu() - computed
    harness.call_without_a_process(bench.daemon.socket, stdin, COMMAND="DEL", **env)
    return took, computed


def _in_force(count: int) -> list[figures.Figure]:
    """The daemon's part: one address more in a set that all its pods have, then looks that find nothing changed."""
    enforcer = policy_enforcer.Enforcer(lambda: contextlib.closing(netlink.Netlink()))
    source = policy_source.TableSource(_table(_PEERS))
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            _hold(enforcer, source, stack.enter_context(namespaces.made("held")))
        enforcer.bring_all(source.rules_of, look=True)
        changed, looked = [], []
        for number in range(_CHANGES):
            source.put(_table(_PEERS + number + 1))
            changed.append(_milliseconds(lambda: enforcer.bring_all(source.rules_of, look=False)))
            looked.append(_milliseconds(lambda: enforcer.bring_all(source.rules_of, look=True)))
    return [
        figures.Figure("in_force_ms_p50", figures.percentile(changed, 0.5), None, f"an address, in {count} pods"),
        figures.Figure("in_force_ms_p99", figures.percentile(changed, 0.99), 100),
        figures.Figure("look_ms_p50", figures.percentile(looked, 0.5), None, f"{count} pods, nothing has changed"),
    ]


def _hold(enforcer: policy_enforcer.Enforcer, source: policy_source.TableSource, pod: namespaces.Namespace) -> None:
    place, scope = ("x", "selected", ""), pod_policies.Scope("net1", 7)
    policy = source.rules_of(*place)
    assert policy is not None
    with contextlib.closing(netlink.Netlink()) as net, net.inside(pod.handle) as inner:
        enforcer.hold(inner, pod_policies.PolicedPod(place, scope, pod.path, pod.handle.identity), policy)


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
