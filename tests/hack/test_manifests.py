"""The lab runs the DaemonSet as declared: nothing declared is left out, nothing is added."""

import copy
import pathlib
from typing import Any

import pytest
import yaml

from tests.lab.image import manifests

FOLDER = pathlib.Path(__file__).parents[2] / "deploy/kustomize"


def documents() -> list[Any]:
    return [yaml.load((FOLDER / f"{name}.yaml").read_text(), yaml.CSafeLoader) for name in ("configmap", "daemonset")]


def changed(*path: Any, to: object) -> list[Any]:
    """The manifests with one value of the pod's specification changed."""
    found = copy.deepcopy(documents())
    place = found[1]["spec"]["template"]["spec"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return found


def test_only_the_cni_daemon_has_capabilities() -> None:
    held = {name: each.capabilities for name, each in manifests.pod(documents()).containers.items()}
    assert held == {
        "install-shim": frozenset(),
        "device-plugin": frozenset(),
        "cni-daemon": {"NET_ADMIN", "SYS_ADMIN", "NET_RAW"},
        "sriovctl": frozenset(),
    }


@pytest.mark.parametrize(
    "wrong",
    [
        changed("hostPID", to=True),
        changed("hostNetwork", to=False),
        changed("securityContext", "seccompProfile", to={"type": "Unconfined"}),
        changed("containers", 0, "securityContext", "privileged", to=True),
        changed("containers", 0, "securityContext", "capabilities", "drop", to=[]),
        changed("containers", 0, "env", to=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]),
        changed("containers", 0, "volumeMounts", 0, "mountPropagation", to="Bidirectional"),
        changed("volumes", 0, to={"name": "config", "emptyDir": {}}),
    ],
)
def test_what_it_does_not_translate_is_refused(wrong: list[Any]) -> None:
    with pytest.raises(ValueError, match="not translated"):
        manifests.pod(wrong)


def test_a_container_gets_its_capabilities_and_mounts_and_no_others() -> None:
    daemon = manifests.pod(documents()).containers["cni-daemon"].without("NET_RAW").without("policy")
    base: dict[str, Any] = {
        "process": {"cwd": "/", "capabilities": {"ambient": ["CAP_CHOWN"], "bounding": ["CAP_CHOWN"]}},
        "mounts": [{"destination": "/proc"}, {"destination": "/run"}],
        "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}, "resources": {}},
    }
    spec = manifests.oci(base, daemon, "/image", {mount.volume: f"/node/{mount.volume}" for mount in daemon.mounts})
    capabilities = spec["process"]["capabilities"]
    granted = ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]
    assert capabilities == {"bounding": granted, "effective": granted, "permitted": granted}
    assert spec["root"] == {"path": "/image", "readonly": True}
    assert spec["process"]["noNewPrivileges"] is True
    assert spec["linux"]["seccomp"] == base["linux"]["seccomp"]
    assert [each["destination"] for each in spec["mounts"]] == ["/proc", *(each.target for each in daemon.mounts)]
    ways = {each["source"]: each["options"][-1] for each in spec["mounts"][1:]}
    assert (ways["/node/run"], ways["/node/pod-resources"]) == ("rw", "ro")
