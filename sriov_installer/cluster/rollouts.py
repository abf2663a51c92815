"""Decisions on a DaemonSet: is it rolled out, the patch that removes what is ours, the pods that forbid that. Pure."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sriov import errors

Object = dict[str, Any]

_SHIM = "install-shim"
_AGENTS = ("agent", "agent-metrics")
_SERVES, _OF_SERVING = "--services=", ("--cgroup-root=", "--cluster-socket=")
_COUNTED = ("updatedNumberScheduled", "numberReady", "numberAvailable")
_ENDED = ("Succeeded", "Failed")


def lacking(daemonset: Object) -> str | None:
    """Return what is missing until every pod is the newest and ready, so that each node's daemons answer; or None."""
    name, status = daemonset["metadata"]["name"], daemonset.get("status", {})
    if status.get("observedGeneration", 0) < daemonset["metadata"]["generation"]:
        return f"{name}: its last change has not been seen yet"
    wanted = status.get("desiredNumberScheduled", 0)
    updated, ready, available = (status.get(key, 0) for key in _COUNTED)
    ready = min(ready, available)
    if min(updated, ready) < wanted:
        return f"{name}: {updated} of {wanted} pods are the newest, {ready} are ready"
    return None


def nodes(daemonsets: Iterable[Object]) -> int:
    """Return the number of nodes that they are for."""
    return sum(each.get("status", {}).get("desiredNumberScheduled", 0) for each in daemonsets)


def removal(daemonset: Object) -> list[Object]:
    """Return the JSON patch with which every pod starts again and takes the shim away, on all nodes at once; and what
    the CNI daemon has left in the kernel for Services.

    Whatever its strategy is: a pod that waits to be deleted by somebody would keep the shim. Raises SriovError.
    """
    containers = daemonset["spec"]["template"]["spec"].get("initContainers", [])
    number = next((number for number, each in enumerate(containers) if each["name"] == _SHIM), None)
    if number is None:
        raise errors.SriovError(f"{daemonset['metadata']['name']} has no init container {_SHIM}", "is it this chart's?")
    found, place = containers[number], f"/spec/template/spec/initContainers/{number}"
    arguments = ["uninstall", *(each for each in found["args"][1:] if each != "--replace-incumbent")]
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%", "maxSurge": 0}}
    return [
        {"op": "test", "path": f"{place}/name", "value": _SHIM},
        {"op": "replace", "path": f"{place}/args", "value": arguments},
        {"op": "replace", "path": "/spec/updateStrategy", "value": strategy},
        *_ending_services(daemonset["spec"]["template"]["spec"].get("containers", [])),
    ]


def _ending_services(containers: Sequence[Object]) -> Iterator[Object]:
    """Yield what has the daemon end them, as the chart's cni.uninstall does. Without it the agent would never be ready.

    The last container first: a removal changes the numbers of those behind it.
    """
    for number, each in reversed([*enumerate(containers)]):
        place, args = f"/spec/template/spec/containers/{number}", each.get("args", [])
        if each["name"] in _AGENTS:
            yield {"op": "test", "path": f"{place}/name", "value": each["name"]}
            yield {"op": "remove", "path": place}
        elif any(arg.startswith(_SERVES) for arg in args):
            kept = [arg.replace(_SERVES, "--remove-services=") for arg in args if not arg.startswith(_OF_SERVING)]
            yield {"op": "test", "path": f"{place}/name", "value": each["name"]}
            yield {"op": "replace", "path": f"{place}/args", "value": kept}


def holders(pods: Iterable[Object], resources: Collection[str]) -> list[str]:
    """Return the pods on nodes that have one of these resources, and have not ended."""
    return [_shown(pod, held) for pod in pods if _lives(pod) and (held := _held(pod) & set(resources))]


def claimants(claims: Iterable[Object], driver: str) -> list[str]:
    """Return the pods that claims with a device of this driver are reserved for."""
    return [
        f"{each['metadata']['namespace']}/{pod['name']} (claim {each['metadata']['name']})"
        for each in claims
        if driver in _drivers(each)
        for pod in each["status"].get("reservedFor") or ()
    ]


def _drivers(claim: Object) -> set[str]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return {each["driver"] for each in (allocation.get("devices") or {}).get("results") or ()}


def _lives(pod: Object) -> bool:
    return bool(pod["spec"].get("nodeName")) and pod.get("status", {}).get("phase") not in _ENDED


def _held(pod: Object) -> set[str]:
    containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
    return {name for each in containers for name in each.get("resources", {}).get("limits", {})}


def _shown(pod: Object, held: set[str]) -> str:
    about = pod["metadata"]
    return f"{about['namespace']}/{about['name']} on {pod['spec']['nodeName']} ({', '.join(sorted(held))})"
