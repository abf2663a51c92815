"""Pod as `kubectl get pod POD -o json` (or yaml) prints it: what it asks for, which nothing on a node knows.

The kubelet reports what a pod was given, never what it wanted; a pod that is not scheduled yet is unknown here.
"""

import json
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from sriovctl import output

_NETWORKS = "k8s.v1.cni.cncf.io/networks"
_NATIVE = frozenset({"cpu", "memory", "ephemeral-storage"})


class PodSpec(msgspec.Struct, frozen=True):
    """`requests` are extended resources with their counts; `claims` are names of ResourceClaims; `networks` is Multus's
    annotation, "" if there is none; `unscheduled` is the scheduler's own reason, "" once the pod is placed."""

    name: str
    requests: dict[str, int]
    networks: str = ""
    unscheduled: str = ""
    node: str = ""
    claims: tuple[str, ...] = ()


def parse(text: str, source: str) -> PodSpec:
    """Parse a pod. Raises click.UsageError for anything else."""
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else output.from_yaml(text)
    except ValueError as error:
        raise click.UsageError(f"{source} is neither JSON nor YAML: {error}") from error
    if not isinstance(found, dict) or found.get("kind") != "Pod":
        raise click.UsageError(f"{source} is not a Pod: pass what `kubectl get pod NAME -o json` prints")
    metadata, spec = _dict(found, "metadata"), _dict(found, "spec")
    return PodSpec(
        f"{metadata.get('namespace', 'default')}/{metadata.get('name', '')}",
        _requests(spec),
        str(_dict(metadata, "annotations").get(_NETWORKS, "")),
        _unscheduled(_dict(found, "status")),
        str(spec.get("nodeName", "")),
        tuple(_claims(spec, _dict(found, "status"))),
    )


def _requests(spec: dict[str, Any]) -> dict[str, int]:
    """Sum extended resources: whole numbers; a limit without a request counts (Kubernetes: Extended Resources)."""
    totals: dict[str, int] = {}
    for container in spec.get("containers") or ():
        asked = _dict(container, "resources")
        for name, count in {**_dict(asked, "limits"), **_dict(asked, "requests")}.items():
            if name not in _NATIVE and not name.startswith("hugepages-") and str(count).isdecimal():
                totals[name] = totals.get(name, 0) + int(count)
    return totals


def _claims(spec: dict[str, Any], status: dict[str, Any]) -> Iterator[str]:
    """Those that are named, and those that were made of templates, which the status names once they are (core/v1,
    PodResourceClaim and PodResourceClaimStatus)."""
    made = {each.get("name"): each.get("resourceClaimName") for each in status.get("resourceClaimStatuses") or ()}
    for each in spec.get("resourceClaims") or ():
        if name := each.get("resourceClaimName") or made.get(each.get("name")):
            yield str(name)


def _unscheduled(status: dict[str, Any]) -> str:
    for each in status.get("conditions") or ():
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return str(each.get("message", "no reason given"))
    return ""


def _dict(value: Any, key: str) -> dict[str, Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}
