"""What docs/metrics.md has its reader do in a cluster, and the two ways to the same objects."""

import json
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from tests.deploy import rendering, rules, test_rendering
from tests.deploy.rendering import Object
from tests.examples import pages, table
from tests.fakes.cluster import apiserver, kinds, kubelets
from tests.fakes.cluster.objects import Objects

OVERLAY = {
    "apiVersion": "kustomize.config.k8s.io/v1beta1",
    "kind": "Kustomization",
    "resources": ["../deploy/kustomize"],
    "components": ["../deploy/kustomize/metrics"],
}


class NoKubelet:
    """Nobody looks into pods here."""

    def started(self, pod: Object) -> dict[str, str]:
        raise NotImplementedError(pod)

    def stopped(self, pod: Object) -> None:
        raise NotImplementedError(pod)

    def said(self, pod: Object, container: str) -> str:
        raise NotImplementedError(pod, container)

    def run(self, pod: Object, container: str, command: list[str], sent: str) -> kubelets.Ended:
        raise NotImplementedError(pod, container, command, sent)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the reader is: a checkout, with the page's files written down."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(rendering.ROOT / "deploy", folder / "deploy")
    pages.write("docs/metrics.md", folder)
    return folder


@pytest.fixture(scope="module")
def installed(reader: pathlib.Path) -> list[Object]:
    """What the page's line sends to the cluster."""
    [example] = table.run_by(__file__, "installed")
    arguments = shlex.split(example.command.replace("upgrade --install", "template"))[1:]
    return test_rendering.installed(rendering.objects(rendering.helm(arguments, folder=reader)))


def named(objects: list[Object]) -> dict[tuple[str, str], Object]:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def test_the_page_lists_the_objects(installed: list[Object]) -> None:
    test_rendering.validate(installed)
    assert rules.problems(installed) == []
    new = named(installed).keys() - named(rendering.chart()).keys()
    assert {kind for kind, _ in new} == {
        *("ClusterRole", "ClusterRoleBinding", "ConfigMap", "PodMonitor", "PrometheusRule", "Secret", "ServiceAccount"),
    }
    page = pages.text("docs/metrics.md")
    roles = {name for kind, name in new if kind == "ClusterRole"}
    assert {name for name in roles if f"`{name}`" in page} == roles


def test_a_component_of_kustomize_has_the_same_containers_roles_and_podmonitor(
    installed: list[Object], reader: pathlib.Path
) -> None:
    (reader / "overlay").mkdir()
    (reader / "overlay/kustomization.yaml").write_text(yaml.safe_dump(OVERLAY))
    helm, plain = (test_rendering.by_name(each) for each in (installed, rendering.kustomize(reader / "overlay")))
    del helm["PodMonitor", "sriov-underlay"]["metadata"]["labels"]["release"]
    assert set(helm) - set(plain) == {("PrometheusRule", "sriov-underlay"), ("ConfigMap", "sriov-underlay-dashboard")}
    assert {key: each for key, each in helm.items() if key in plain} == plain


def test_the_proxies_alone_may_ask_the_api_server(installed: list[Object]) -> None:
    """And the account that Prometheus gets may read metrics, which is all that anybody is bound to."""
    found = named(installed)
    bound = {
        (each["roleRef"]["name"], *(subject["name"] for subject in each["subjects"]))
        for (kind, _), each in found.items()
        if kind == "ClusterRoleBinding"
    }
    proxy, reading = "sriov-underlay-metrics-proxy", "sriov-underlay-metrics-reader"
    assert bound == {(proxy, "sriov-underlay"), (reading, reading)}
    assert found["ClusterRole", reading]["rules"] == [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    asked = [(each["resources"], each["verbs"]) for each in found["ClusterRole", proxy]["rules"]]
    assert asked == [(["tokenreviews"], ["create"]), (["subjectaccessreviews"], ["create"])]


def test_openshift_has_to_admit_the_volumes_that_the_page_names() -> None:
    [said] = re.findall(
        r"also need the volumes `(\w+)` and, with\s+`tlsSecret`, `(\w+)`", pages.text("docs/metrics.md")
    )
    kinds_of = []
    for values in ({}, test_rendering.VARIANTS["metrics"], test_rendering.VARIANTS[test_rendering.CERTIFIED]):
        spec = rendering.only(rendering.chart(values), "DaemonSet")["spec"]["template"]["spec"]
        kinds_of.append({kind for each in spec["volumes"] for kind in each if kind != "name"})
    usual, proxied, certified = kinds_of
    assert (proxied - usual, certified - usual) == ({said[0]}, set(said))


def test_rules_and_dashboard_are_the_files(installed: list[Object]) -> None:
    """In the chart they are files, and beside the tests links to them, so that there are not two."""
    folder = rendering.ROOT / "deploy/observability"
    found = named(installed)
    alerts = yaml.safe_load((folder / "alerts.yaml").read_text())
    assert found["PrometheusRule", "sriov-underlay"]["spec"] == alerts
    stored = found["ConfigMap", "sriov-underlay-dashboard"]
    assert json.loads(stored["data"]["sriov-underlay.json"]) == json.loads((folder / "dashboard.json").read_text())
    assert stored["metadata"]["labels"]["grafana_dashboard"] == "1"
    for name in ("alerts.yaml", "dashboard.json"):
        assert (folder / name).resolve() == rendering.CHART / "files" / name


def test_an_annotation_is_the_file_that_the_daemons_of_one_node_follow(tmp_path: pathlib.Path) -> None:
    """By kubectl, at the stand-in API server. The kubelet writes what the annotation says, nothing if there is none."""
    daemonset = rendering.only(rendering.chart(), "DaemonSet")
    objects = Objects()
    objects.create(kinds.NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}})
    for node in ("node-1", "node-2"):
        template = daemonset["spec"]["template"]
        about = {**template["metadata"], "name": f"on-{node}"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {**template["spec"], "nodeName": node}}
        objects.create(kinds.POD, "kube-system", pod)
    setting, removing = table.run_by(__file__, "test_an_annotation_is_the_file_that_the_daemons_of_one_node_follow")
    with apiserver.serving(objects, NoKubelet()) as url:
        for example, said in ((setting, ["debug", ""]), (removing, ["", ""])):
            command = [str(rendering.KUBECTL), f"--server={url}", *shlex.split(example.command)[1:]]
            done = subprocess.run(command, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert [written(each) for each in objects.listed(kinds.POD)] == said


def written(pod: Object) -> str:
    """The file of the pod's volume, which both daemons are told to follow."""
    [volume] = [each for each in pod["spec"]["volumes"] if each["name"] == "podinfo"]
    [item] = volume["downwardAPI"]["items"]
    daemons = [each for each in pod["spec"]["containers"] if each["name"] in ("device-plugin", "cni-daemon")]
    assert len(daemons) == 2
    for container in daemons:
        [mounted] = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == "podinfo"]
        assert f"--log-level-file={mounted}/{item['path']}" in container["args"]
    [annotation] = re.findall(r"metadata\.annotations\['(.+)'\]", item["fieldRef"]["fieldPath"])
    return str(pod["metadata"].get("annotations", {}).get(annotation, ""))
