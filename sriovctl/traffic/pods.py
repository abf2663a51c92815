"""Pods that measure, as objects of Kubernetes: a receiver with a server of each tool, a sender that waits. Pure.

They meet the Pod Security Standard `restricted`: no privilege, no root, no account, a read-only file system.
"""

import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sriovctl.traffic import plans, tools

LABEL = "sriov-underlay.io/traffic"
SENDER = "sender"
_HOSTNAME = "kubernetes.io/hostname"
_NETWORKS = "k8s.v1.cni.cncf.io/networks"
_STATUS = "k8s.v1.cni.cncf.io/network-status"
RESOURCE = "k8s.v1.cni.cncf.io/resourceName"
_NOBODY = 65534

Object = Mapping[str, Any]


def resource(definition: Object) -> str | None:
    """Return the resource whose VFs a NetworkAttachmentDefinition is for, None if it names none."""
    found: str | None = definition["metadata"].get("annotations", {}).get(RESOURCE)
    return found


def manifest(plan: plans.TrafficPlan, nodes: Sequence[Object]) -> Object:
    """Return both pods, as a list that kubectl creates."""
    ends: tuple[Mapping[str, Sequence[str]], ...] = ({SENDER: ("sleep", "infinity")}, tools.SERVERS)
    pods = [_pod(plan, name, node, commands) for name, node, commands in zip(plan.pods, nodes, ends, strict=True)]
    return {"apiVersion": "v1", "kind": "List", "items": pods}


def _pod(plan: plans.TrafficPlan, name: str, node: Object, commands: Mapping[str, Sequence[str]]) -> Object:
    about = {"name": name, "namespace": plan.namespace, "labels": {LABEL: plan.mark}}
    about |= {"annotations": {_NETWORKS: plan.network}}
    containers = [_container(plan.image, each, command) for each, command in commands.items()]
    containers[0]["resources"] = {each: {plan.resource: "1"} for each in ("requests", "limits")}
    spec = {
        "nodeSelector": {_HOSTNAME: node["metadata"].get("labels", {}).get(_HOSTNAME, node["metadata"]["name"])},
        "activeDeadlineSeconds": plan.deadline,
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _NOBODY,
            "runAsGroup": _NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
        "containers": containers,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}


def _container(image: str, name: str, command: Sequence[str]) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "command": list(command),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 (iperf3 keeps what it sends there)
    }


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def has_failed(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def reason(pod: Object) -> str:
    """Return why a pod is not ready, as the kubelet and the scheduler have it."""
    status = pod.get("status", {})
    waiting = [each.get("state", {}).get("waiting", {}) for each in status.get("containerStatuses", [])]
    told = [f"{each.get('reason')}: {each.get('message', '')}" for each in waiting if each.get("reason")]
    told += [each["message"] for each in status.get("conditions", []) if each.get("message")]
    return status.get("message") or next(iter(told), "nothing is known of it")


def interfaces(pod: Object, network: str) -> dict[str, tuple[str, str]]:
    """Return interface and IPv4 address of each way. Raises ValueError with the reason."""
    shown = json.loads(pod["metadata"].get("annotations", {}).get(_STATUS, "[]"))
    [vf] = [each for each in shown if each.get("name") == network] or [{}]
    addresses = [each["ip"] for each in pod["status"].get("podIPs", [])]
    found = {"vf": (vf.get("interface", ""), vf.get("ips", [])), "cluster": ("eth0", addresses)}
    return {way: (name, _first(plans.WAYS[way], each)) for way, (name, each) in found.items()}


def _first(way: str, addresses: Sequence[str]) -> str:
    for each in addresses:
        if ipaddress.ip_address(each).version == 4:
            return each
    raise ValueError(f"it has no IPv4 address in the {way}: {', '.join(addresses) or 'none at all'}")
