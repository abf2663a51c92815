"""What a DaemonSet's status says, what is changed at its removal, and which pods forbid it."""

import pytest

from sriov import errors
from sriov_installer.cluster import rollouts
from sriov_installer.cluster.rollouts import Object


def daemonset(**status: int) -> Object:
    done = {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3}
    return {
        "metadata": {"name": "a", "generation": 2},
        "status": {**done, "numberReady": 3, "numberAvailable": 3, **status},
    }


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({}, None),
        ({"desiredNumberScheduled": 0}, None),
        ({"observedGeneration": 1}, "a: its last change has not been seen yet"),
        ({"updatedNumberScheduled": 1}, "a: 1 of 3 pods are the newest, 3 are ready"),
        ({"numberReady": 2}, "a: 3 of 3 pods are the newest, 2 are ready"),
        ({"numberAvailable": 0}, "a: 3 of 3 pods are the newest, 0 are ready"),
    ],
)
def test_what_lacks_until_it_is_rolled_out(status: dict[str, int], told: str | None) -> None:
    assert rollouts.lacking(daemonset(**status)) == told


def test_one_that_no_controller_has_seen_is_not_rolled_out() -> None:
    assert rollouts.lacking({"metadata": {"name": "a", "generation": 1}}) == "a: its last change has not been seen yet"


def test_the_removal_starts_every_pod_again_without_the_shim() -> None:
    """Wherever the container is, and whatever it was told beside where the folder is."""
    told = ["install", "--shim-only", "--cni-bin-dir=/host/cni/bin", "--replace-incumbent"]
    containers = [{"name": "other", "args": []}, {"name": "install-shim", "args": told}]
    still, shim, strategy = rollouts.removal({"spec": {"template": {"spec": {"initContainers": containers}}}})
    assert still == {"op": "test", "path": "/spec/template/spec/initContainers/1/name", "value": "install-shim"}
    assert shim == {
        "op": "replace",
        "path": "/spec/template/spec/initContainers/1/args",
        "value": ["uninstall", "--shim-only", "--cni-bin-dir=/host/cni/bin"],
    }
    assert (strategy["path"], strategy["value"]["type"]) == ("/spec/updateStrategy", "RollingUpdate")


def test_a_daemonset_without_the_shim_is_told() -> None:
    other = {"metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": []}}}}
    with pytest.raises(errors.SriovError, match="a has no init container install-shim"):
        rollouts.removal(other)


def pod(name: str, limits: dict[str, str], node: str = "n", phase: str = "Running", key: str = "containers") -> Object:
    spec = {"containers": [{}], "nodeName": node, key: [{}, {"resources": {"limits": limits}}]}
    return {"metadata": {"namespace": "ns", "name": name}, "spec": spec, "status": {"phase": phase}}


def test_pods_hold_a_vf_until_they_have_ended() -> None:
    vf = {"intel.com/a": "1", "memory": "1Gi"}
    pods = [
        pod("runs", vf),
        pod("begins", {"intel.com/a": "1", "intel.com/b": "1"}, phase="Pending", key="initContainers"),
        pod("waits", vf, node=""),
        pod("done", vf, phase="Succeeded"),
        pod("failed", vf, phase="Failed"),
        pod("of-another", {"intel.com/c": "1"}),
        pod("of-nothing", {}),
    ]
    assert rollouts.holders(pods, ["intel.com/a", "intel.com/b"]) == [
        "ns/runs on n (intel.com/a)",
        "ns/begins on n (intel.com/a, intel.com/b)",
    ]


def claim(name: str, *drivers: str, pods: tuple[str, ...] = ("train-0",)) -> Object:
    results = [{"driver": each} for each in drivers]
    status = {"allocation": {"devices": {"results": results}}, "reservedFor": [{"name": each} for each in pods]}
    return {"metadata": {"namespace": "ns", "name": name}, "status": status}


def test_pods_hold_a_vf_by_a_claim_as_long_as_it_is_reserved_for_them() -> None:
    claims = [
        claim("rails", "gpu.nvidia.com", "sriov-underlay"),
        claim("two", "sriov-underlay", pods=("a", "b")),
        claim("of-another", "gpu.nvidia.com"),
        claim("free", "sriov-underlay", pods=()),
        {"metadata": {"namespace": "ns", "name": "waits"}},
        {"metadata": {"namespace": "ns", "name": "waits-too"}, "status": {"allocation": None}},
    ]
    assert rollouts.claimants(claims, "sriov-underlay") == [
        "ns/train-0 (claim rails)", "ns/a (claim two)", "ns/b (claim two)",
    ]  # fmt: skip
