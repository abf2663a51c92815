"""Objects of a small cluster, as the API server's JSON has them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from sriov_agent import objects

Json = dict[str, Any]

NODE = "here"
OTHER = "there"


def service(name: str = "web", *, ports: Sequence[Json] = ({"port": 80},), **more: Any) -> Json:
    """A Service of the namespace default; `labels` and `status` are the object's own, all else is its spec's."""
    labels, status = more.pop("labels", {}), more.pop("status", {})
    spec: Json = {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.1",
        "ports": [{"protocol": "TCP", **each} for each in ports],
    }
    spec |= more
    if "clusterIPs" not in spec:
        spec["clusterIPs"] = [spec["clusterIP"]]
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": status}


def endpoint(address: str = "10.1.0.1", *, node: str = OTHER, **more: Any) -> Json:
    """`ready`, `serving` and `terminating` are conditions; `zones` and `nodes` are hints."""
    conditions = {key: more.pop(key) for key in ("ready", "serving", "terminating") if key in more}
    hints = {
        f"for{key.title()}": [{"name": each} for each in more.pop(key)] for key in ("zones", "nodes") if key in more
    }
    return {"addresses": [address], "nodeName": node, "conditions": conditions, "hints": hints, **more}


def endpoint_slice(*endpoints: Json, name: str = "web-1", of: str = "web", **more: Any) -> Json:
    """`port` is its only one, unless `ports` are given."""
    labels = {"kubernetes.io/service-name": of, **more.pop("labels", {})}
    ports = more.pop("ports", [{"name": "", "protocol": "TCP", "port": more.pop("port", 8080)}])
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
        "addressType": more.pop("addressType", "IPv4"), "endpoints": list(endpoints), "ports": ports, **more,
    }  # fmt: skip


def node(*addresses: tuple[str, str], name: str = NODE, zone: str = "") -> Json:
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    told = [{"type": kind, "address": address} for kind, address in addresses]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"addresses": told},
    }


def cidr(*cidrs: str, name: str = "kubernetes") -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name},
        "spec": {"cidrs": list(cidrs)},
    }  # fmt: skip


_KINDS: dict[str, type[objects.AnyObject]] = {
    "Service": objects.ServiceObject,
    "EndpointSlice": objects.SliceObject,
    "Node": objects.NodeObject,
    "ServiceCIDR": objects.RangeObject,
}


def decoded(told: Json) -> objects.AnyObject:
    return msgspec.convert(told, _KINDS[told["kind"]])
