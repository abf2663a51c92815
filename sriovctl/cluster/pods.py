"""Pods of the DaemonSet as `kubectl get pods -o json` lists them: one of each node. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from sriovctl import sight

SELECTOR = "app.kubernetes.io/name=sriov-underlay"
"""Label of the pods in chart and manifests."""


class NodePod(msgspec.Struct, frozen=True):
    """A node's pod. `trouble` is why sriovctl cannot be run in it, "" if it can."""

    node: str
    namespace: str
    name: str
    trouble: str = ""


def by_node(listed: Mapping[str, Any]) -> dict[str, NodePod]:
    """Return the pods by node, in the nodes' order. During an update a node has two: the one that runs is taken."""
    found = [_pod(each) for each in listed["items"] if each.get("spec", {}).get("nodeName")]
    ordered = sorted(found, key=lambda pod: (pod.node, not pod.trouble))
    return {pod.node: pod for pod in ordered}


def namespaces(listed: Mapping[str, Any]) -> list[str]:
    """Return the namespaces that the pods are in, in order. Anybody may give a pod the DaemonSet's label."""
    return sorted({str(each["metadata"]["namespace"]) for each in listed["items"]})


def _pod(found: Mapping[str, Any]) -> NodePod:
    about, spec = found["metadata"], found["spec"]
    return NodePod(spec["nodeName"], about["namespace"], about["name"], _trouble(found))


def _trouble(found: Mapping[str, Any]) -> str:
    name, phase = found["metadata"]["name"], found.get("status", {}).get("phase", "Pending")
    if sight.CONTAINER not in [each["name"] for each in found["spec"]["containers"]]:
        return f"its pod {name} has no container {sight.CONTAINER}: the release is older, or sriovctl.enabled is false"
    if "deletionTimestamp" in found["metadata"]:
        return f"its pod {name} is ending"
    return "" if phase == "Running" else f"its pod {name} is {phase}"
