"""Rendered manifests: the same from chart and kustomization, valid for each supported Kubernetes, as the values say."""

import json
import pathlib
import re
import shutil
import tomllib

import pytest
import yaml

from sriov_agent import api
from sriov_agent.policies import kinds as policy_kinds
from sriovctl import options, paths
from tests.deploy import rendering, rules
from tests.deploy.rendering import Object
from tests.fakes.cluster import kinds

VERSIONS = ("1.25", "1.28", "1.31", "1.34", "1.37")
DIGEST = "sha256:" + "0123456789abcdef" * 4

CERTIFIED = "metrics with certificates of one's own"
VARIANTS: dict[str, Object] = {
    "default": {},
    "k0s": {"kubelet": {"root": "/var/lib/k0s/kubelet"}},
    "microk8s": {
        "kubelet": {"root": "/var/snap/microk8s/common/var/lib/kubelet"},
        "cni": {"binDir": "/var/snap/microk8s/current/opt/cni/bin"},
    },
    "k3s": {"cni": {"binDir": "/var/lib/rancher/k3s/data/cni"}},
    "openshift": {"cni": {"binDir": "/var/lib/cni/bin"}, "seLinuxOptions": {"type": "spc_t"}},
    "kubelet watches": {"kubelet": {"registration": "watcher"}},
    "no metrics": {"http": {"enabled": False}},
    "other ports": {"http": {"devicePluginPort": 19557, "cniDaemonPort": 19558}},
    "cdi": {"cdi": {"enabled": True, "annotations": True}},
    "changing over": {"cni": {"replaceIncumbent": True}},
    "removal": {"cni": {"replaceIncumbent": True, "uninstall": True}},
    "nobody looks": {"sriovctl": {"enabled": False}},
    "nobody looks, and no metrics": {"sriovctl": {"enabled": False}, "http": {"enabled": False}},
    "other networks": {"cni": {"confDir": "/var/lib/rancher/k3s/agent/etc/cni/net.d"}},
    "services": {"services": {"enabled": True}},
    "services, and metrics": {
        "services": {"enabled": True},
        "metrics": {
            "proxy": {"enabled": True, "image": "quay.io/brancz/kube-rbac-proxy:v0.21.2"},
            "podMonitor": {"enabled": True},
        },
    },
    "services, and everything of metrics": {"services": {"enabled": True}, "metrics": {
        "proxy": {"enabled": True, "image": "registry.example/kube-rbac-proxy:v0.21.2"},
        "podMonitor": {"enabled": True},
        "rules": {"enabled": True},
        "dashboard": {"enabled": True},
    }},
    "services and claims, and everything of metrics": {
        "services": {"enabled": True},
        "dra": {"enabled": True},
        "metrics": {
            "proxy": {"enabled": True, "image": "registry.example/kube-rbac-proxy:v0.21.2"},
            "podMonitor": {"enabled": True},
            "rules": {"enabled": True},
            "dashboard": {"enabled": True},
        },
    },
    "services, and policies": {"services": {"enabled": True}, "policies": {"enabled": True}},
    "services, and policies of all networks": {
        "services": {"enabled": True},
        "policies": {"enabled": True, "multi": True},
    },
    "services without probes": {"services": {"enabled": True}, "http": {"enabled": False}},
    "services are ended": {"services": {"uninstall": True}},
    "services are removed with the shim": {"services": {"enabled": True}, "cni": {"uninstall": True}},
    "claims": {"dra": {"enabled": True, "deviceClasses": False}},
    "claims of groups of nodes": {
        "dra": {
            "enabled": True,
            "extendedResources": True,
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
        },
        "config": {"resourceList": [{"resourceName": "rail_a", "publish": "dra"}, {"resourceName": "other"}]},
        "nodeGroups": {"canary": {"config": {"resourceList": [
            {"ResourceName": "Rail_B", "resourcePrefix": "example.com", "Publish": "dra"},
            {"resourceName": "rail_a", "publish": "dra"},
        ]}}},
        "kubelet": {"root": "/var/lib/k0s/kubelet"},
        "cni": {"confDir": "/var/lib/k0s/net.d"},
        "http": {"draPort": 19560},
        "seLinuxOptions": {"type": "spc_t"},
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "updateStrategy": {"type": "OnDelete"},
        "imagePullSecrets": [{"name": "registry"}],
        "podLabels": {"example.com/team": "net"},
        **{
            each: {"extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}]}
            for each in ("devicePlugin", "cniDaemon")
        },
    },
    "claims, and metrics": {
        "dra": {"enabled": True},
        "metrics": {
            "proxy": {"enabled": True, "image": "quay.io/brancz/kube-rbac-proxy:v0.21.2"},
            "podMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
        },
    },
    "claims without probes": {"dra": {"enabled": True}, "http": {"enabled": False}},
    "kubespray": {"installShim": {"dacOverride": True}},
    "nobody before": {"cni": {"predecessorDir": ""}},
    "policy": {"policy": {"rules": [{"vlans": ["100-199"], "trust": False}]}},
    "services for all networks": {
        "services": {"enabled": True},
        "policy": {"defaults": {"services": "auto", "hostLink": True, "viaHost": ["169.254.20.10/32"]}},
    },
    "from a registry": {
        "image": {"repository": "registry.example:5000/net/sriov-underlay", "tag": "1.2.3", "digest": DIGEST},
        "imagePullSecrets": [{"name": "registry"}],
    },
    "metrics": {"metrics": {
        "proxy": {"enabled": True, "image": "registry.example/kube-rbac-proxy:v0.21.2"},
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "rules": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
    }},
    CERTIFIED: {
        "http": {"devicePluginPort": 19557, "cniDaemonPort": 19558},
        "metrics": {
            "proxy": {"enabled": True, "image": f"registry.example/proxy@{DIGEST}", "tlsSecret": "metrics-tls"},
            "podMonitor": {
                "enabled": True,
                "interval": "15s",
                "tokenSecret": {"name": "reader", "key": "token"},
                "ca": {"configMap": {"name": "ca", "key": "ca.crt"}},
                "serverName": "sriov-underlay.example",
            },
            "dashboard": {"enabled": True, "namespace": "grafana", "annotations": {"grafana_folder": "Network"}},
        },
    },
    "metrics for a Prometheus without an operator": {
        "metrics": {"proxy": {"enabled": True, "image": "registry.example/kube-rbac-proxy:v0.21.2"}},
    },
    "some nodes": {
        "nodeSelector": {"feature.node.kubernetes.io/network-sriov.capable": "true"},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}]}
        ]}}},
        "tolerations": [],
        "maxUnavailable": 1,
        "podAnnotations": {"example.com/why": "a reason"},
    },
    "groups of nodes": {
        "nodeGroups": {
            "canary": {"config": {"resourceList": [{"resourceName": "b"}]}, "policy": {"rules": []}},
            "free": {"policy": {}},
            "as-all": {},
        },
        "policy": {"rules": [{"vlans": ["0"]}]},
    },
    "other names": {"nameOverride": "vfs", "fullnameOverride": "net-vfs", "podLabels": {"example.com/team": "net"}},
    "by hand": {"updateStrategy": {"type": "OnDelete"}, "nodeFeatureDiscovery": {"enabled": False}},
    "more of everything": {
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}, {"name": "scratch", "emptyDir": {}}],
        **{
            container: {
                "extraEnv": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "extraVolumeMounts": [
                    {"name": "ca", "mountPath": "/etc/ca", "readOnly": True},
                    {"name": "scratch", "mountPath": "/scratch"},
                ],
            }
            for container in ("installShim", "devicePlugin", "cniDaemon", "sriovctl")
        },
    },
    "more to say": {
        "log": {"level": "debug", "format": "human"},
        "devicePlugin": {"extraArgs": ["--resync-interval=10"], "resources": {"limits": {"memory": "512Mi"}}},
        "cniDaemon": {"extraArgs": ["--run-dir=/run/sriov"]},
    },
}  # fmt: skip

REFUSED: list[tuple[Object, str]] = [
    ({"log": {"level": "verbose"}}, "at '/log/level': value must be one of 'debug', 'info', 'warning', 'error'"),
    ({"kubelet": {"rootDir": "/x"}}, "at '/kubelet': additional properties 'rootDir' not allowed"),
    ({"replicas": 3}, "additional properties 'replicas' not allowed"),
    ({"cni": {"binDir": "opt/cni/bin"}}, "at '/cni/binDir': 'opt/cni/bin' does not match pattern"),
    ({"cni": {"binDir": "/opt/../etc"}}, "at '/cni/binDir': '/opt/../etc' does not match pattern"),
    ({"cni": {"binDir": "/opt/cni/bin/"}}, "at '/cni/binDir': '/opt/cni/bin/' does not match pattern"),
    ({"image": {"digest": "sha256:1234"}}, "at '/image/digest': 'sha256:1234' does not match pattern"),
    ({"image": {"tag": "latest"}}, "image.tag is latest: two nodes would run two programs, name a version"),
    ({"http": {"devicePluginPort": 0}}, "at '/http/devicePluginPort': minimum: got 0, want 1"),
    ({"http": {"devicePluginPort": 9558}}, "http.devicePluginPort and http.cniDaemonPort are both 9558"),
    ({"services": {"enabled": True}, "http": {"agentPort": 9557}}, "http.agentPort is 9557, which another program has"),
    (
        {"services": {"enabled": True, "uninstall": True}},
        "services.uninstall ends what services.enabled starts: set one of them to false",
    ),
    ({"policies": {"enabled": True}}, "policies.enabled needs the agent: set services.enabled to true, too"),
    (
        {"dra": {"enabled": True}, "nodeGroups": {"gpu-dra": {}}},
        "nodeGroups.gpu-dra: with dra.enabled a DaemonSet of this name is the driver's",
    ),
    (
        {"dra": {"enabled": True, "deviceClasses": False, "extendedResources": True}},
        "dra.extendedResources is a field of the classes that dra.deviceClasses makes: set both to true",
    ),
    ({"policies": {"multi": True}}, "policies.multi without policies.enabled watches nothing: set both to true"),
    ({"services": {"enable": True}}, "at '/services': additional properties 'enable' not allowed"),
    ({"config": {"resourceList": [{"selectors": {}}]}}, "at '/config/resourceList/0': missing property 'resourceName'"),
    ({"config": None}, "missing property 'config'"),
    ({"policy": {"rule": []}}, "at '/policy': additional properties 'rule' not allowed"),
    ({"metrics": {"proxy": {"enabled": True}}}, "metrics.proxy.enabled needs metrics.proxy.image: name an image"),
    ({"metrics": {"proxy": {"image": "kube-rbac-proxy"}}}, "at '/metrics/proxy/image': 'kube-rbac-proxy' does not"),
    ({"metrics": {"proxy": {"image": "x/proxy:latest"}}}, "metrics.proxy.image is latest: two nodes would run"),
    ({"http": {"enabled": False}, "metrics": {"proxy": {"enabled": True, "image": "x/y:1"}}}, "needs http.enabled"),
    ({"metrics": {"podMonitor": {"enabled": True}}}, "metrics.podMonitor.enabled needs metrics.proxy.enabled"),
    ({"metrics": {"podMonitor": {"ca": {"secret": {"name": "a", "key": "b"}}}}}, "ca needs metrics.proxy.tlsSecret"),
    (
        {
            "metrics": {
                "proxy": {"enabled": True, "image": "x/y:1", "tlsSecret": "tls"},
                "podMonitor": {"enabled": True},
            }
        },
        "metrics.proxy.tlsSecret needs metrics.podMonitor.ca and metrics.podMonitor.serverName",
    ),
    ({"metrics": {"podMonitors": {}}}, "at '/metrics': additional properties 'podMonitors' not allowed"),
    ({"metrics": {"proxy": {"tls": ""}}}, "at '/metrics/proxy': additional properties 'tls' not allowed"),
    (
        {"metrics": {"podMonitor": {"tokenSecret": {"name": "a"}}}},
        "at '/metrics/podMonitor/tokenSecret': properties 'key' required, if 'name' exists",
    ),
    (
        {"metrics": {"podMonitor": {"ca": {"config": {}}}}},
        "at '/metrics/podMonitor/ca': additional properties 'config' not allowed",
    ),
    (
        {"metrics": {"dashboard": {"label": {}}}},
        "at '/metrics/dashboard': additional properties 'label' not allowed",
    ),
    ({"metrics": {"rules": {"on": True}}}, "at '/metrics/rules': additional properties 'on' not allowed"),
    (
        {"config": {"resourceList": [{"resourceName": "a"}, {"RESOURCENAME": "a", "resourcePrefix": "intel.com"}]}},
        "config.resourceList has intel.com/a twice: give each resource its own name",
    ),
    ({"nodeGroups": {"policy": {}}}, "nodeGroups.policy: the chart has a ConfigMap of this name, take another name"),
    ({"nodeGroups": {"dashboard": {}}}, "nodeGroups.dashboard: the chart has a ConfigMap of this name"),
    ({"nodeGroups": {"A": {}}}, "nodeGroups.A: a group's name is part of objects' names and a label's value"),
    ({"nodeGroups": {"a": {"config": {}}}}, "at '/nodeGroups/a/config': missing property 'resourceList'"),
    (
        {"nodeGroups": {"a": {}}, "nodeSelector": {"sriov-underlay/node-group": "a"}},
        "nodeSelector has sriov-underlay/node-group, the label of nodeGroups",
    ),
    ({"extraVolumes": [{"name": "a", "hostPath": {"path": "/"}}]}, "additional properties 'hostPath' not allowed"),
    (
        {"podLabels": {"app.kubernetes.io/name": "x"}},
        "podLabels.app.kubernetes.io/name: the chart or Kubernetes sets this label",
    ),
    (
        {"updateStrategy": {"type": "Recreate"}},
        "at '/updateStrategy/type': value must be one of 'RollingUpdate', 'OnDelete'",
    ),
    ({"fullnameOverride": "Net"}, "at '/fullnameOverride': 'Net' does not match pattern"),
    ({"maxUnavailable": 0}, "at '/maxUnavailable': minimum: got 0, want 1"),
    ({"maxUnavailable": "0%"}, "at '/maxUnavailable': '0%' does not match pattern"),
]


def validate(objects: list[Object]) -> None:
    """Kinds of Kubernetes' own. Those of prometheus-operator are in test_metrics_in_a_cluster.py."""
    for each in objects:
        if each["apiVersion"] == "monitoring.coreos.com/v1":
            continue
        of_claims = "dra-driver" in each["metadata"].get("labels", {}).values()
        for version in VERSIONS[VERSIONS.index("1.34") if of_claims else 0 :]:
            assert kinds.violation(each, version) is None


HELMS = {"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "sriov-underlay-0.1.0"}
"""Labels that tell by whom an object was made, and so no other way's."""


def installed(objects: list[Object]) -> list[Object]:
    """Less those of hooks, which are there only while Helm tests or removes the release."""
    return [each for each in objects if "helm.sh/hook" not in each["metadata"].get("annotations", {})]


def by_name(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """What is installed, without the labels that Helm alone gives, which every object of it has."""
    for each in (objects := installed(objects)):
        labels = each["metadata"]["labels"]
        if "helm.sh/chart" in labels:
            assert {key: labels.pop(key) for key in HELMS} == HELMS
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def test_the_chart_and_the_plain_manifests_are_the_same_objects() -> None:
    chart, plain = (by_name(objects) for objects in (rendering.chart(), rendering.kustomize(rendering.BASE)))
    assert set(chart) == {(kind, "sriov-underlay") for kind in ("ConfigMap", "DaemonSet", "ServiceAccount")}
    assert chart == plain


@pytest.mark.parametrize(
    ("variant", "components"),
    [
        ("services", ["services"]),
        ("services, and metrics", ["services", "metrics", "services/metrics"]),
        ("services, and policies", ["services", "services/policies"]),
        ("services are ended", ["services/removal"]),
        ("claims", ["dra"]),
    ],
)
def test_what_is_off_by_default_is_the_same_by_the_chart_and_by_components(
    variant: str, components: list[str], tmp_path: pathlib.Path
) -> None:
    shutil.copytree(rendering.BASE, tmp_path / "kustomize")
    overlay = {"resources": ["../kustomize"], "components": [f"../kustomize/{each}" for each in components]}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/kustomization.yaml").write_text(yaml.safe_dump(overlay))
    chart, plain = (
        by_name(objects) for objects in (rendering.chart(VARIANTS[variant]), rendering.kustomize(tmp_path / "mine"))
    )
    assert (("ClusterRole", "sriov-underlay-agent") in chart) is ("services" in components)
    assert chart == plain


def test_prometheus_finds_the_drivers_pods_by_their_labels_and_their_port() -> None:
    objects = by_name(rendering.chart(VARIANTS["claims, and metrics"]))
    pod = objects["DaemonSet", "sriov-underlay-dra"]["spec"]["template"]
    monitor = objects["PodMonitor", "sriov-underlay-dra"]["spec"]
    labels = pod["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    grouped: Object = {"nodeGroups": {"canary": {}}}
    objects = by_name(rendering.chart({**VARIANTS["claims, and metrics"], **grouped}))
    [expression] = objects["PodMonitor", "sriov-underlay-dra"]["spec"]["selector"]["matchExpressions"]
    canary = objects["DaemonSet", "sriov-underlay-canary-dra"]["spec"]["template"]["metadata"]["labels"]
    assert {labels[expression["key"]], canary[expression["key"]]} == set(expression["values"])
    [endpoint] = monitor["podMetricsEndpoints"]
    assert endpoint["port"] in {each["name"] for each in pod["spec"]["containers"][0]["ports"]}
    others = objects["PodMonitor", "sriov-underlay"]["spec"]["selector"]["matchLabels"]
    assert not others.items() <= labels.items(), "its pods are none of the daemons'"


def test_without_services_nothing_of_them_is_rendered() -> None:
    """Alerts and dashboard are one file each, for all that there may be."""
    files = {("PrometheusRule", "sriov-underlay"), ("ConfigMap", "sriov-underlay-dashboard")}
    plain, served = (
        json.dumps([each for each in rendering.chart(values) if (each["kind"], each["metadata"]["name"]) not in files])
        for values in (VARIANTS["metrics"], VARIANTS["services, and everything of metrics"])
    )
    words = ("sriov-agent", '"agent"', "--services", "/sys/fs/")
    assert [[each for each in words if each in said] for said in (plain, served)] == [[], [*words]]


def test_a_removal_of_the_shim_ends_services_too() -> None:
    removed, ended = (
        rendering.containers(rendering.only(rendering.chart(VARIANTS[each]), "DaemonSet"))
        for each in ("services are removed with the shim", "services are ended")
    )
    assert (removed["cni-daemon"], "agent" in removed) == (ended["cni-daemon"], False)
    assert removed["install-shim"]["args"][0] == "uninstall"


def test_the_values_of_the_page_switch_policies_on() -> None:
    """docs/policy.md."""
    [values] = re.findall(r"```yaml\n(.*?)```", (rendering.ROOT / "docs/policy.md").read_text(), re.DOTALL)
    objects = rendering.chart(yaml.safe_load(values))
    agent = rendering.containers(rendering.only(objects, "DaemonSet"))["agent"]
    assert "--policies=all" in agent["args"]


def test_beside_a_release_of_helm_the_dra_driver_reads_its_configmap(tmp_path: pathlib.Path) -> None:
    """As docs/dra.md says: an overlay with the component alone."""
    shutil.copytree(rendering.BASE / "dra", tmp_path / "component")
    (tmp_path / "kustomization.yaml").write_text("components: [component]\n")
    driver = rendering.only(rendering.kustomize(tmp_path), "DaemonSet")
    mounted = [
        (driver["metadata"]["namespace"], each["configMap"]["name"], item["key"])
        for each in driver["spec"]["template"]["spec"]["volumes"]
        if "configMap" in each
        for item in each["configMap"]["items"]
    ]
    made = [
        (each["metadata"]["namespace"], each["metadata"]["name"], key)
        for each in rendering.chart()
        if each["kind"] == "ConfigMap"
        for key in each["data"]
    ]
    assert mounted
    assert {*mounted} <= {*made}


@pytest.mark.parametrize("more", ["", ", and policies", ", and policies of all networks"])
def test_the_agent_may_read_what_it_watches_and_nothing_else(more: str) -> None:
    """Of pods also one by its name, for the CNI daemon."""
    role = by_name(rendering.chart(VARIANTS[f"services{more}"]))["ClusterRole", "sriov-underlay-agent"]
    may = {(*each["apiGroups"], *each["resources"], *each["verbs"]) for each in role["rules"]}
    watched = [kind.resource._api_info for kind in api.kinds("here")]
    policies = {
        "": [],
        ", and policies": policy_kinds.kinds(multi=False),
        ", and policies of all networks": policy_kinds.kinds(multi=True),
    }
    others = {
        (each.group, each.plural, *(["get"] * (each == policy_kinds.POD)), "list", "watch") for each in policies[more]
    }
    assert may == {
        ("", "services", "nodes", "list", "watch"),
        *((each.resource.group, each.plural, "list", "watch") for each in watched if each.resource.group),
        *others,
    }


def test_the_comments_of_both_are_the_same() -> None:
    """A reason that changes in one of them has to change in the other."""
    plain = comments((rendering.BASE / "daemonset.yaml").read_text())
    assert len(plain) > 10
    assert comments(rendering.files()["sriov-underlay/templates/daemonset.yaml"]) == plain
    for file, template in (("driver", "dra"), ("rbac", "dra-rbac")):
        plain = comments((rendering.BASE / f"dra/{file}.yaml").read_text())
        rendered = rendering.files(VARIANTS["claims"])[f"sriov-underlay/templates/{template}.yaml"]
        assert comments(rendered) == plain != []


def test_each_resource_for_claims_has_a_class_once() -> None:
    """Keys are in any case, as the device plugin reads them. The class selects what the driver publishes."""
    objects = rendering.chart(VARIANTS["claims of groups of nodes"])
    classes = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "DeviceClass"}
    resources = {"rail-a.intel.com": "intel.com/rail_a", "rail-b.example.com": "example.com/Rail_B"}
    assert {name: each["extendedResourceName"] for name, each in classes.items()} == resources
    for name, each in classes.items():
        [selector] = each["selectors"]
        assert selector["cel"]["expression"] == (
            f'device.driver == "sriov-underlay" && device.attributes["sriov-underlay"].resource == "{resources[name]}"'
        )
    assert [each["kind"] for each in rendering.chart(VARIANTS["claims"])].count("DeviceClass") == 0


def comments(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.lstrip().startswith("#")]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_sound_and_keeps_the_rules(variant: str) -> None:
    objects = rendering.chart(VARIANTS[variant])
    validate(objects)
    assert rules.problems(objects) == []


RECOMMENDED = {"name", "instance", "version", "component", "part-of", "managed-by"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_object_has_the_recommended_labels(variant: str) -> None:
    for each in rendering.chart(VARIANTS[variant]):
        labels = set(each["metadata"]["labels"])
        assert labels >= {"helm.sh/chart", *(f"app.kubernetes.io/{name}" for name in RECOMMENDED)}, each["metadata"]


def test_names_can_be_others() -> None:
    objects = rendering.chart({**VARIANTS["other names"], **VARIANTS["policy"]})
    assert {each["metadata"]["name"] for each in installed(objects)} == {"net-vfs", "net-vfs-policy"}
    daemonset = rendering.only(objects, "DaemonSet")
    assert daemonset["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] == "vfs"
    assert daemonset["spec"]["template"]["metadata"]["labels"]["example.com/team"] == "net"
    named = {each["metadata"]["name"] for each in installed(rendering.chart({"nameOverride": "vfs"}, name="left"))}
    assert named == {"left-vfs"}


def test_what_selects_the_pods_is_what_the_first_chart_had() -> None:
    """A DaemonSet's selector cannot be changed, so an upgrade that has another one fails."""
    daemonset = rendering.only(rendering.chart(name="left"), "DaemonSet")
    assert daemonset["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "sriov-underlay",
        "app.kubernetes.io/instance": "left",
    }


def test_each_container_gets_what_is_added_for_it() -> None:
    daemonset = rendering.only(rendering.chart(VARIANTS["more of everything"]), "DaemonSet")
    for name, container in rendering.containers(daemonset).items():
        added = [each["name"] for each in container["env"] if not each["name"].startswith("SRIOVCTL_")]
        assert added == ["NODE"], name
        assert [each["mountPath"] for each in container["volumeMounts"][-2:]] == ["/etc/ca", "/scratch"]


def test_a_schema_knows_a_mistake() -> None:
    [broken] = [each for each in rendering.chart() if each["kind"] == "DaemonSet"]
    broken["spec"]["template"]["spec"]["hostNetworks"] = True
    assert all("hostNetworks" in (kinds.violation(broken, version) or "") for version in VERSIONS)


@pytest.mark.parametrize(("values", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_a_bad_value_is_refused_by_name(values: Object, told: str) -> None:
    with pytest.raises(rendering.RefusedError) as refused:
        rendering.chart(values)
    assert told in str(refused.value)


def test_the_version_is_the_projects() -> None:
    version = tomllib.loads((rendering.ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((rendering.CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    plain = rendering.only(rendering.kustomize(rendering.BASE), "DaemonSet")
    assert {each["image"] for each in rendering.containers(plain).values()} == {f"localhost/sriov-underlay:{version}"}


def test_an_image_is_named_by_its_digest() -> None:
    daemonset = rendering.only(rendering.chart(VARIANTS["from a registry"]), "DaemonSet")
    images = {each["image"] for each in rendering.containers(daemonset).values()}
    assert images == {f"registry.example:5000/net/sriov-underlay:1.2.3@{DIGEST}"}


@pytest.mark.parametrize(
    ("variant", "first", "adds"),
    [
        ("default", ["install"], None),
        ("changing over", ["install", "--replace-incumbent"], None),
        ("removal", ["uninstall"], None),
        ("kubespray", ["install"], ["DAC_OVERRIDE"]),
    ],
)
def test_the_shim_comes_and_goes(variant: str, first: list[str], adds: list[str] | None) -> None:
    """Which variant has a capability, and which is told what, besides where the folder is."""
    daemonset = rendering.only(rendering.chart(VARIANTS[variant]), "DaemonSet")
    container = rendering.containers(daemonset)["install-shim"]
    always = {"--shim-only", "--cni-bin-dir=/host/cni/bin"}
    assert set(container["args"]) == {*first, *always}
    assert container["args"][0] == first[0]
    assert container["securityContext"]["capabilities"].get("add") == adds


@pytest.mark.parametrize("variant", VARIANTS)
def test_sriovctl_finds_in_its_container_what_the_values_say(variant: str) -> None:
    """Its variables name the paths that are mounted, which are the node's own; what the values add is left out."""
    daemonset = next(each for each in rendering.chart(VARIANTS[variant]) if each["kind"] == "DaemonSet")
    added = [each["name"] for each in VARIANTS[variant].get("extraVolumes", [])]
    container = rendering.containers(daemonset).get("sriovctl")
    if VARIANTS[variant].get("sriovctl") == {"enabled": False}:
        assert container is None
        return
    assert container is not None
    volumes = {each["name"]: each for each in daemonset["spec"]["template"]["spec"]["volumes"]}
    for mount in (each for each in container["volumeMounts"] if each["name"] not in added):
        assert mount["readOnly"] is True
        assert mount["mountPath"] == volumes[mount["name"]].get("hostPath", {"path": mount["mountPath"]})["path"]
    given = {each["name"]: each["value"] for each in container["env"] if "valueFrom" not in each}
    root = given["SRIOVCTL_KUBELET_ROOT_DIR"]
    mounted = {each["mountPath"] for each in container["volumeMounts"]}
    assert {f"{root}/pod-resources", given["SRIOVCTL_CNI_BIN_DIR"], given["SRIOVCTL_CNI_CONF_DIR"]} <= mounted
    variables = {flag for flags, _ in options._PLACES.values() for flag in options.variables(flags)}
    assert set(given) <= variables, "sriovctl reads no other"


@pytest.mark.parametrize("variant", VARIANTS)
def test_sriovctl_sees_the_table_of_policies_where_there_is_one(variant: str) -> None:
    """It may not enter a pod, and says what may pass by what the daemon keeps. Without policies it sees none of it."""
    daemonset = next(each for each in rendering.chart(VARIANTS[variant]) if each["kind"] == "DaemonSet")
    found = rendering.containers(daemonset)
    keeps = [each for each in found["cni-daemon"].get("args", []) if each.startswith("--policy-snapshot=")]
    mounts = found.get("sriovctl", {"volumeMounts": []})["volumeMounts"]
    seen = [each for each in mounts if each["mountPath"] == str(paths.Places().policies.parent)]
    assert [each["readOnly"] for each in seen] == [True] * ("sriovctl" in found and bool(keeps))
    assert keeps in ([], [f"--policy-snapshot={paths.Places().policies}"])


def test_two_releases_do_not_share_an_object() -> None:
    everything = {**VARIANTS["policy"], **VARIANTS["metrics"]}
    first, second = (
        {(each["kind"], each["metadata"]["name"]) for each in rendering.chart(everything, name=name)}
        for name in ("left", "right")
    )
    assert ("DaemonSet", "left-sriov-underlay") in first
    assert not first & second


def test_a_policy_that_is_given_has_to_be_there() -> None:
    """Else a pod that starts before it would be allowed everything."""
    objects = rendering.chart(VARIANTS["policy"])
    [written] = [each for each in objects if each["metadata"]["name"] == "sriov-underlay-policy"]
    assert json.loads(written["data"]["policy.json"]) == VARIANTS["policy"]["policy"]
    volumes = rendering.only(objects, "DaemonSet")["spec"]["template"]["spec"]["volumes"]
    [mounted] = [each["configMap"] for each in volumes if each["name"] == "policy"]
    assert (mounted["name"], mounted.get("optional")) == ("sriov-underlay-policy", None)


def test_the_notes_name_what_was_installed() -> None:
    values = {"config": {"resourceList": [{"resourceName": "a"}, {"resourceName": "b", "resourcePrefix": "x.org"}]}}
    told = rendering.notes({**values, "http": {"enabled": False}}, namespace="net")
    assert "the resources intel.com/a x.org/b:" in told
    assert "kubectl --namespace net rollout status daemonset/sriov-underlay" in told
    assert "helm test sriov-underlay --namespace net" in told
    assert "nodeFeatureDiscovery.enabled=false" in told
    assert "removes the shim from every node, and refuses while pods hold VFs" in told
    assert "there are no metrics and no probes" in told


def test_the_notes_tell_what_the_values_change() -> None:
    values = {**VARIANTS["groups of nodes"], "nodeFeatureDiscovery": {"enabled": False}, "hooks": {"removeShim": False}}
    told = rendering.notes(values)
    assert "Groups of nodes, by the label sriov-underlay/node-group: as-all, canary, free" in told
    assert "intel.com/b intel.com/sriov_vf:" in told
    assert "hooks.removeShim is false: a removal leaves the shim on the nodes" in told
    assert "nodeFeatureDiscovery.enabled=false" not in told
