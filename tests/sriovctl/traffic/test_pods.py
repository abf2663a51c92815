"""Pods that measure: what they may do, and what is read of them."""

import json
from typing import Any

import pytest

from sriovctl.traffic import pods
from tests.fakes.cluster import kinds
from tests.sriovctl.traffic import test_plans

NODES: list[dict[str, Any]] = [
    {"metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "one"}}},
    {"metadata": {"name": "node-2"}},
]
NETWORK = "x/rail-a"


def test_they_meet_the_restricted_standard_and_the_schema() -> None:
    """Kubernetes, Pod Security Standards: no root, no privilege, no capability, a seccomp profile."""
    for pod, host in zip(pods.manifest(test_plans.plan(), NODES)["items"], ("one", "node-2"), strict=True):
        assert kinds.violation(pod, kinds.VERSION) is None
        spec = pod["spec"]
        assert (spec["securityContext"]["runAsNonRoot"], spec["automountServiceAccountToken"]) == (True, False)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["nodeSelector"] == {"kubernetes.io/hostname": host}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert (security["allowPrivilegeEscalation"], security["capabilities"]) == (False, {"drop": ["ALL"]})
        assert sum("resources" in each for each in spec["containers"]) == 1, "one VF for a pod"


def pod(networks: list[dict[str, object]], addresses: list[str], **status: object) -> dict[str, Any]:
    told = {"k8s.v1.cni.cncf.io/network-status": json.dumps(networks)}
    return {"metadata": {"annotations": told}, "status": {"podIPs": [{"ip": each} for each in addresses], **status}}


def test_each_way_has_an_interface_and_an_ipv4_address() -> None:
    networks: list[dict[str, object]] = [
        {"name": "cbr0", "interface": "eth0", "ips": ["10.1.0.7"]},
        {"name": NETWORK, "interface": "net1", "ips": ["2001:db8::7", "198.51.100.7"]},
    ]
    found = pods.interfaces(pod(networks, ["fd00::7", "10.1.0.7"]), NETWORK)
    assert found == {"vf": ("net1", "198.51.100.7"), "cluster": ("eth0", "10.1.0.7")}


@pytest.mark.parametrize(
    ("networks", "addresses", "says"),
    [
        ([], ["10.1.0.7"], "no IPv4 address in the VF: none at all"),
        ([{"name": NETWORK, "ips": ["2001:db8::7"]}], ["10.1.0.7"], "no IPv4 address in the VF: 2001:db8::7"),
        ([{"name": NETWORK, "ips": ["192.0.2.7"]}], ["fd00::7"], "no IPv4 address in the cluster's network: fd00::7"),
    ],
)
def test_without_an_ipv4_address_it_says_where(
    networks: list[dict[str, object]], addresses: list[str], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        pods.interfaces(pod(networks, addresses), NETWORK)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}]},
            "ErrImagePull: no",
        ),
        ({"conditions": [{"type": "PodScheduled", "message": "0/2 nodes"}]}, "0/2 nodes"),
        ({"phase": "Failed", "message": "Allocate failed"}, "Allocate failed"),
        ({}, "nothing is known of it"),
    ],
)
def test_why_a_pod_does_not_start(status: dict[str, object], says: str) -> None:
    found = pod([], [], **status)
    assert pods.reason(found) == says
    assert (pods.is_ready(found), pods.has_failed(found)) == (False, status.get("phase") == "Failed")
