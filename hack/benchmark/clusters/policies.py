"""Network policies of a large cluster: compiling them for a node, one change, and the agent's memory.

The cluster has 100 namespaces with 100 pods each, one of them on this node, and ten policies that select all of them.
Every third policy names pods of other namespaces, every third a block of addresses, the others pods of their own.
"""

import contextlib
import functools
import gc
import pathlib
import time
from collections.abc import Callable
from typing import Any

import msgspec

from hack.benchmark import figures
from hack.benchmark.clusters import changes as clusters
from hack.benchmark.stages import stage
from sriov_agent.policies import objects, view
from tests.sriov_agent import cluster

Json = dict[str, Any]

NAMESPACES, PODS, POLICIES, CHANGES = 100, 100, 10, 200
_TIERS = ("front", "middle", "back", "store")
_KINDS = {"Namespace": objects.NamespaceObject, "Pod": objects.PodObject, "NetworkPolicy": objects.PolicyObject}


def measure(namespaces: int = NAMESPACES, changes: int = CHANGES) -> list[figures.Figure]:
    """Measure with a hundred pods and ten policies for each namespace; takes half a minute with a hundred of them."""
    told = [each for number in range(namespaces) for each in _namespace(number, namespaces)]
    found = f"{namespaces * POLICIES} policies, {namespaces * PODS} pods, {PODS} of them here"
    return [*_compiling(told, changes, found), *_agent(told, found)]


def _namespace(number: int, namespaces: int) -> list[Json]:
    name = f"team-{number}"
    space = {
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name, "group": f"group-{number % 10}"}}
    }
    here = PODS // namespaces
    return [
        {"kind": "Namespace", **space},
        *({"kind": "Pod", **_pod(name, number, each, each < here)} for each in range(PODS)),
        *({"kind": "NetworkPolicy", **_policy(name, each)} for each in range(POLICIES)),
    ]


def _pod(namespace: str, number: int, each: int, here: bool) -> Json:
    """As a Deployment's pod is, with its annotations and status, of which most is not read."""
    tier, address = _TIERS[each % len(_TIERS)], f"10.{number}.{each}.7"
    labels = {"app": f"app-{each % 20}", "tier": tier, "pod-template-hash": f"{each * 7919:010x}"}
    status = [{"name": "cluster", "default": True, "interface": "eth0", "ips": [address]}]
    port = {"name": "http", "containerPort": 8080, "protocol": "TCP"}
    return {
        "metadata": {
            "name": f"app-{each % 20}-{each * 7919:010x}-{each:05x}", "namespace": namespace, "labels": labels,
            "uid": f"00000000-0000-4000-8000-{number:06x}{each:06x}",
            "annotations": {"k8s.v1.cni.cncf.io/network-status": msgspec.json.encode(status).decode()},
        },
        "spec": {"nodeName": cluster.NODE if here else cluster.OTHER, "containers": [{"name": "app", "ports": [port]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address}, {"ip": f"fd00::{number:x}:{each:x}"}]},
    }  # fmt: skip


def _policy(namespace: str, each: int) -> Json:
    tier = {"matchLabels": {"tier": _TIERS[each % len(_TIERS)]}}
    peers: list[Json] = [
        {"podSelector": {"matchLabels": {"app": f"app-{each}"}}},
        {"namespaceSelector": {"matchLabels": {"group": f"group-{each}"}}, "podSelector": tier},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": [f"10.{each}.0.0/16"]}},
    ]
    rule = {"from": [peers[each % 3]], "ports": [{"port": "http"}, {"port": 9000 + each}]}
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [rule], "egress": [{}]}
    return {"metadata": {"name": f"policy-{each}", "namespace": namespace}, "spec": spec}


def _compiling(told: list[Json], changes: int, found: str) -> list[figures.Figure]:
    seen = [msgspec.convert(each, _KINDS[each["kind"]]) for each in told]
    made = view.PolicyView(cluster.NODE, lambda _: None)
    gc.collect()
    noted = _milliseconds(lambda: _note(made, seen))
    compiled = _milliseconds(made.whole)
    taken = [_milliseconds(functools.partial(_change, made, each)) for each in _moved(seen, changes)]
    size = f"{len(made.grants)} grants, {len(made.sets)} sets, {sum(map(len, made.sets.values()))} addresses"
    return [
        figures.Figure("policies", len([each for each in told if each["kind"] == "NetworkPolicy"]), None, found),
        figures.Figure("note_ms", noted, None, "objects taken note of, as they are listed"),
        figures.Figure("compile_ms", compiled, 300, size),
        figures.Figure("change_ms_p50", figures.percentile(taken, 0.5)),
        figures.Figure("change_ms_p99", figures.percentile(taken, 0.99), 5, "another node's pod has another address"),
    ]


def _note(made: view.PolicyView, seen: list[Any]) -> None:
    for each in seen:
        made.put(each)


def _change(made: view.PolicyView, pod: objects.PodObject) -> None:
    made.put(pod)
    made.change()


def _moved(seen: list[Any], changes: int) -> list[objects.PodObject]:
    pods = [each for each in seen if isinstance(each, objects.PodObject) and each.spec.node_name != cluster.NODE]
    return [
        msgspec.structs.replace(pod, status=objects.PodStatus("Running", (objects.PodIP(f"192.0.2.{number % 250}"),)))
        for number, pod in enumerate(pods[:: max(1, len(pods) // changes)][:changes])
    ]


def _agent(told: list[Json], found: str) -> list[figures.Figure]:
    """Have the real agent send all of it to the real daemon."""
    made = clusters.Cluster(0, 0)
    made.do(made.api.put(*told))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(stage.folder())
        socket, kept = folder / "policies.sock", folder / "lib/policies"
        options = (
            f"--policy-socket={socket}",
            f"--policy-snapshot={kept}",
            f"--cluster-socket={folder / 'agent.sock'}",
        )
        places = (f"--cluster-snapshot={folder / 'services'}", "--sysfs=/nowhere")
        [daemon, _] = stack.enter_context(stage.daemons(folder, None, "sriov_cni", *options, *places))
        port = stack.enter_context(made.serving(folder))
        began = time.perf_counter()
        agent = stack.enter_context(clusters.agent(folder, port, "--policies=kubernetes", f"--policy-socket={socket}"))
        _wait(kept)
        return [
            figures.Figure(
                "agent_start_s", time.perf_counter() - began, None, "until the daemon has all of it on disk"
            ),
            figures.Figure("agent_rss_mb", clusters.memory(agent, "VmRSS"), 80, found),
            figures.Figure("agent_peak_mb", clusters.memory(agent, "VmHWM")),
            figures.Figure("daemon_rss_mb", clusters.memory(daemon.pid, "VmRSS"), None, "with the same table"),
            figures.Figure("table_kb", kept.stat().st_size / 1000, None, "of what the agent sends at first"),
        ]


def _wait(path: pathlib.Path, seconds: float = 120) -> None:
    began = time.perf_counter()
    while not path.exists():
        if time.perf_counter() - began > seconds:
            raise TimeoutError(f"no policies for {seconds:g} s")
        time.sleep(0.02)


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
