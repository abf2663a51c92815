"""Which DaemonSet has a pod on which node, and with which configuration: groups of nodes, NFD's labels, affinity."""

import json

import pytest

from tests.deploy import rendering, test_rendering
from tests.deploy.rendering import Object
from tests.fakes.cluster import placement


def daemonsets(objects: list[Object]) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == "DaemonSet"}


NFD = "feature.node.kubernetes.io"
NODES: dict[str, dict[str, str]] = {
    "not looked at": {},
    "with SR-IOV": {f"{NFD}/network-sriov.capable": "true", f"{NFD}/kernel-version.major": "6"},
    "without": {f"{NFD}/kernel-version.major": "6"},
}
GROUPS = {"no group": {}, "canary": {"sriov-underlay/node-group": "canary"}, "else": {"sriov-underlay/node-group": "x"}}


def placed(objects: list[Object], labels: dict[str, str]) -> list[str]:
    """The DaemonSets that have a pod on a node with these labels."""
    node = {"metadata": {"labels": {"kubernetes.io/os": "linux", **labels}}}
    return [
        name for name, each in daemonsets(objects).items() if placement.fits(each["spec"]["template"]["spec"], node)
    ]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("node", NODES)
def test_a_node_has_one_pod_and_none_if_it_has_no_sriov(node: str, group: str) -> None:
    values: Object = {"nodeGroups": {"canary": {"config": {"resourceList": []}}, "other": {}}}
    mine = "sriov-underlay-canary" if group == "canary" else "sriov-underlay"
    labels = {**NODES[node], **GROUPS[group]}
    assert placed(rendering.chart(values), labels) == ([] if node == "without" else [mine])
    assert placed(rendering.chart(), labels) == ([] if node == "without" else ["sriov-underlay"])
    everywhere = {**values, "nodeFeatureDiscovery": {"enabled": False}}
    assert placed(rendering.chart(everywhere), labels) == [mine]


def test_accelerators_are_not_looked_for_by_a_label_of_nics() -> None:
    values = {"config": {"resourceList": [{"resourceName": "qat", "deviceType": "accelerator"}]}}
    assert placed(rendering.chart(values), NODES["without"]) == ["sriov-underlay"]


@pytest.mark.parametrize("node", NODES)
def test_an_affinity_of_the_values_holds_too(node: str) -> None:
    terms = [{"matchExpressions": [{"key": key, "operator": "Exists"}]} for key in ("rack", "row")]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    objects = rendering.chart({"affinity": {"nodeAffinity": required}})
    assert placed(objects, NODES[node]) == []
    assert bool(placed(objects, {**NODES[node], "row": "1"})) is (node != "without")


def test_no_pod_is_of_two_daemonsets() -> None:
    found = daemonsets(rendering.chart(test_rendering.VARIANTS["groups of nodes"])).values()
    for each in found:
        labels = each["spec"]["template"]["metadata"]["labels"].items()
        [one] = [other for other in found if other["spec"]["selector"]["matchLabels"].items() <= labels]
        assert one is each


def test_the_monitor_selects_the_pods_of_every_group() -> None:
    metrics = {"proxy": {"enabled": True, "image": "x/y:1"}, "podMonitor": {"enabled": True}}
    objects = rendering.chart({**test_rendering.VARIANTS["groups of nodes"], "metrics": metrics})
    selector = rendering.only(objects, "PodMonitor")["spec"]["selector"]
    [instances] = selector["matchExpressions"]
    assert (instances["key"], instances["operator"]) == ("app.kubernetes.io/instance", "In")
    found = [each["spec"]["template"]["metadata"]["labels"] for each in daemonsets(objects).values()]
    assert all(selector["matchLabels"].items() <= labels.items() for labels in found)
    assert [labels["app.kubernetes.io/instance"] for labels in found] == instances["values"]


def test_a_group_has_what_is_its_own_and_else_what_all_have() -> None:
    objects = rendering.chart(test_rendering.VARIANTS["groups of nodes"])
    written = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
    mounted = {
        name: {
            each["name"]: (each["configMap"]["name"], each["configMap"].get("optional", False))
            for each in daemonset["spec"]["template"]["spec"]["volumes"]
            if "configMap" in each
        }
        for name, daemonset in daemonsets(objects).items()
    }
    ours, policy = ("sriov-underlay", False), ("sriov-underlay-policy", False)
    assert mounted == {
        "sriov-underlay": {"config": ours, "policy": policy},
        "sriov-underlay-as-all": {"config": ours, "policy": policy},
        "sriov-underlay-canary": dict.fromkeys(("config", "policy"), ("sriov-underlay-canary", False)),
        "sriov-underlay-free": {"config": ours, "policy": ("sriov-underlay-free", True)},
    }
    assert json.loads(written["sriov-underlay-canary"]["config.json"]) == {"resourceList": [{"resourceName": "b"}]}
    assert json.loads(written["sriov-underlay-canary"]["policy.json"]) == {"rules": []}
    assert not written["sriov-underlay-free"]
