"""Helm's hooks: what their pods may do, and what they do. While a VF is held, a removal changes nothing."""

import pathlib
import re
import tempfile
from collections.abc import Iterator

import pytest

from sriov_installer.cluster import rollouts
from tests.deploy import clusters, rendering, test_rendering
from tests.deploy.rendering import Object
from tests.examples import pages
from tests.fakes.cluster import kinds, patches

HOOK = "helm.sh/hook"
GROUPS = {"nodeGroups": {"canary": {"config": {"resourceList": [{"RESOURCENAME": "b", "resourcePrefix": "x.org"}]}}}}


def hooks(values: Object | None = None) -> list[Object]:
    return [each for each in rendering.chart(values) if HOOK in each["metadata"].get("annotations", {})]


def pods(objects: list[Object]) -> dict[str, Object]:
    """Their specs, by the hook."""
    found = [each for each in objects if each["kind"] in ("Pod", "Job")]
    return {each["metadata"]["annotations"][HOOK]: each["spec"].get("template", each)["spec"] for each in found}


def test_a_hooks_pod_has_nothing_of_the_node() -> None:
    found = pods(hooks())
    assert set(found) == {"test", "pre-delete"}
    for spec in found.values():
        assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(spec)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        [container] = spec["containers"]
        context = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == context


def test_no_daemonset_takes_a_hooks_pod_for_its_own() -> None:
    objects = rendering.chart(GROUPS)
    selectors = [each["spec"]["selector"]["matchLabels"] for each in objects if each["kind"] == "DaemonSet"]
    for each in hooks(GROUPS):
        for labelled in (each, each["spec"]["template"]) if each["kind"] == "Job" else (each,):
            labels = labelled["metadata"]["labels"].items()
            assert not any(selector.items() <= labels for selector in selectors)


def test_what_the_hooks_may_ask_for() -> None:
    rules = {
        (each["kind"], each["metadata"]["name"]): each["rules"]
        for each in hooks(GROUPS)
        if each["kind"].endswith("Role")
    }
    ours = {
        "apiGroups": ["apps"],
        "resources": ["daemonsets"],
        "resourceNames": ["sriov-underlay", "sriov-underlay-canary"],
    }
    assert rules == {
        ("Role", "sriov-underlay-test"): [{**ours, "verbs": ["get"]}],
        ("Role", "sriov-underlay-remove"): [{**ours, "verbs": ["get", "patch"]}],
        ("ClusterRole", "kube-system-sriov-underlay-remove"): [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
        ],
    }


def test_what_the_hooks_are_told() -> None:
    """Every DaemonSet, and every resource of every group, whatever the case of its keys."""
    found = pods(hooks(GROUPS))
    named = ["--daemonset=sriov-underlay", "--daemonset=sriov-underlay-canary"]
    assert found["test"]["containers"][0]["args"] == ["cluster", "ready", *named, "--timeout=240"]
    resources = ["--resource=intel.com/sriov_vf", "--resource=x.org/b"]
    assert found["pre-delete"]["containers"][0]["args"] == [
        "cluster",
        "remove-shim",
        *named,
        *resources,
        "--timeout=240",
    ]


def test_pods_with_claims_are_asked_for_where_the_driver_is() -> None:
    found = hooks(test_rendering.VARIANTS["claims"])
    assert "--driver=sriov-underlay" in pods(found)["pre-delete"]["containers"][0]["args"]
    [role] = [each for each in found if each["kind"] == "ClusterRole"]
    claims = {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims"], "verbs": ["list"]}
    assert role["rules"][1:] == [claims]


def test_the_removal_can_be_left_out() -> None:
    left = hooks({"hooks": {"removeShim": False}})
    assert {each["metadata"]["annotations"][HOOK] for each in left} == {"test"}


@pytest.mark.parametrize("variant", test_rendering.VARIANTS)
def test_hooks_are_sound(variant: str) -> None:
    test_rendering.validate(hooks(test_rendering.VARIANTS[variant]))


@pytest.mark.parametrize("variant", ["services", "services, and metrics", "by hand"])
def test_the_removal_leaves_what_cni_uninstall_renders(variant: str) -> None:
    """Of both programs of Services too; a volume that nobody mounts any more does no harm."""
    values = test_rendering.VARIANTS[variant]
    daemonset = rendering.only(rendering.chart(values), "DaemonSet")
    by_value = {**values, "cni": {**values.get("cni", {}), "uninstall": True}}
    rendered = rendering.containers(rendering.only(rendering.chart(by_value), "DaemonSet"))
    patched = rendering.containers(patches.replacing(rollouts.removal(daemonset))(daemonset))
    assert [*patched] == [*rendered]
    assert [each["args"] for each in patched.values() if "args" in each] == [
        each["args"] for each in rendered.values() if "args" in each
    ]


@pytest.fixture
def cluster() -> Iterator[clusters.Cluster]:
    with tempfile.TemporaryDirectory(prefix="th", dir="/tmp") as folder, clusters.opened(pathlib.Path(folder)) as made:
        yield made


def typed(cluster: clusters.Cluster, beginning: str) -> tuple[int, str]:
    """The page's first line that begins so."""
    line = next(each.command for each in pages.examples("docs/install.md") if each.command.startswith(beginning))
    done = cluster.types(line)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.root
def test_the_shim_stays_while_a_pod_holds_a_vf(cluster: clusters.Cluster) -> None:
    pages.write("docs/install.md", cluster.folder)
    assert typed(cluster, "helm upgrade --install")[0] == 0
    assert typed(cluster, "kubectl --namespace kube-system rollout status")[0] == 0
    assert typed(cluster, "kubectl apply -f")[0] == 0
    before = cluster.objects.listed(kinds.DAEMONSET)
    status, told = typed(cluster, "helm uninstall")
    assert (status, "Job/kube-system/sriov-underlay-remove" in told) == (1, True), told
    [job] = cluster.objects.listed(kinds.JOB)
    [condition] = job["status"]["conditions"]
    assert "default/on-a-vf on node-1 (intel.com/rail_a)" in condition["message"]
    assert "delete these pods first; nothing was changed" in condition["message"]
    assert cluster.objects.listed(kinds.DAEMONSET) == before
    assert [path.name for path in cluster.node.bin.iterdir()] == ["sriov"]
    assert typed(cluster, "kubectl delete pod")[0] == 0
    assert typed(cluster, "helm uninstall") == (0, 'release "sriov-underlay" uninstalled\n')
    assert list(cluster.node.bin.iterdir()) == []
    assert asked(cluster) == {
        ("GET", "daemonsets"),
        ("GET", "pods"),
        ("PATCH", "daemonsets"),
    }, "what its roles allow, and all of it"


def asked(cluster: clusters.Cluster) -> set[tuple[str, str]]:
    mine = [(method, path) for token, method, path in cluster.asked if token == "sriov-underlay-remove"]  # noqa: S105
    found = {(method, re.findall(r"(daemonsets(?=/sriov-underlay$)|(?<=/v1/)pods$)", path)[0]) for method, path in mine}
    assert mine
    return found
