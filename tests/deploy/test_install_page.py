"""Statements of docs/install.md on files, privileges and values. Its commands are run beside this."""

import json
import pathlib
import re
import shlex
import shutil

import pytest
import yaml

from sriov.pools import config as plugin_conf
from sriov_cni.context import policy_rules
from sriov_cni.spec import environment, netconf, service_modes, vf_request
from tests.deploy import rendering, rules, test_rendering
from tests.deploy.rendering import Object
from tests.examples import pages

PAGE = pages.text("docs/install.md")
FILES = pages.files("docs/install.md")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the reader is: a checkout, with the page's files written down."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(rendering.ROOT / "deploy", folder / "deploy")
    pages.write("docs/install.md", folder)
    return folder


def sound(objects: list[Object]) -> None:
    test_rendering.validate(objects)
    assert rules.problems(objects) == []


def test_both_ways_of_the_page_lead_to_the_same(reader: pathlib.Path) -> None:
    """The overlay and the values say the same: so do the objects, but for how the JSON is laid out."""
    [line] = [each.command for each in pages.examples("docs/install.md") if "--install" in each.command]
    arguments = shlex.split(line.replace("upgrade --install", "template"))[1:]
    helm, overlay = (
        test_rendering.by_name(objects)
        for objects in (
            rendering.objects(rendering.helm(arguments, folder=reader)),
            rendering.kustomize(reader / "my-cluster"),
        )
    )
    daemonsets = [each["DaemonSet", "sriov-underlay"] for each in (helm, overlay)]
    images = [{each["image"] for each in rendering.containers(found).values()} for found in daemonsets]
    assert [len(each) for each in images] == [1, 1]
    assert [next(iter(each)).partition("@")[2] for each in images] == ["sha256:" + "0123456789abcdef" * 4] * 2
    for found in daemonsets:
        for container in rendering.containers(found).values():
            del container["image"]
    written = [json.loads(each["ConfigMap", "sriov-underlay"]["data"].pop("config.json")) for each in (helm, overlay)]
    assert written[0] == written[1]
    assert helm == overlay


def test_the_pod_gets_a_vf_of_the_resource_that_the_page_makes(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(yaml.safe_load(FILES["my-values.yaml"])["config"]))
    [resource] = plugin_conf.load(path, "intel.com").resources
    network, pod = yaml.safe_load_all(FILES["rail-a.yaml"])
    assert network["metadata"]["annotations"] == {"k8s.v1.cni.cncf.io/resourceName": resource.full_name}
    assert pod["metadata"]["annotations"] == {"k8s.v1.cni.cncf.io/networks": network["metadata"]["name"]}
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {resource.full_name: "1"}
    document = netconf.decode(filled_in(json.loads(network["spec"]["config"])))
    wanted = vf_request.read(document, environment.Arguments())
    assert (wanted.wanted.vlan, netconf.network(document).ipam) == (100, "host-local")


def filled_in(configuration: Object) -> bytes:
    """As Multus passes it on."""
    return json.dumps({**configuration, "deviceID": "0000:01:10.0"}).encode()


def test_the_network_of_podman() -> None:
    [network] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    [plugin] = network.pop("plugins")
    document = netconf.decode(json.dumps({**network, **plugin}).encode())
    wanted = vf_request.read(document, environment.Arguments())
    assert (wanted.pci, wanted.wanted.mac, wanted.wanted.vlan) == ("0000:03:02.0", "02:00:00:00:00:01", 100)


def test_openshift_admits_what_the_pods_ask_for_and_no_more() -> None:
    admitted = yaml.safe_load(FILES["openshift.yaml"])
    daemonset = rendering.only(rendering.chart(), "DaemonSet")
    spec, containers = daemonset["spec"]["template"]["spec"], rendering.containers(daemonset).values()
    added = {name for each in containers for name in each["securityContext"]["capabilities"].get("add", [])}
    assert set(admitted["allowedCapabilities"]) == added
    assert set(admitted["volumes"]) == {kind for each in spec["volumes"] for kind in each if kind != "name"}
    assert admitted["users"] == [f"system:serviceaccount:kube-system:{spec['serviceAccountName']}"]
    asked_for = {key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)}
    allowed = {
        f"host{key.removeprefix('allowHost')}" for key in admitted if key.startswith("allowHost") and admitted[key]
    }
    assert asked_for == allowed - {"hostDirVolumePlugin", "hostPorts"}


def test_the_table_of_privileges_is_the_daemonset() -> None:
    daemonset = rendering.only(rendering.chart(), "DaemonSet")
    paths = {
        each["name"]: each["hostPath"]["path"]
        for each in daemonset["spec"]["template"]["spec"]["volumes"]
        if "hostPath" in each
    }
    for name, container in rendering.containers(daemonset).items():
        [row] = re.findall(rf"^\| {name}[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|$", PAGE, re.MULTILINE)
        mounts = [each for each in container["volumeMounts"] if each["name"] in paths]
        said = [set(re.findall(r"`(/[^`]+)`", cell)) for cell in row[1:]]
        writes, reads = (
            {paths[each["name"]] for each in mounts if bool(each.get("readOnly")) is it} for it in (False, True)
        )
        assert said == [writes, reads]
        added = container["securityContext"]["capabilities"].get("add", ["none"])
        assert row[0].strip().split(", ") == added


def test_the_table_of_services_is_what_they_add() -> None:
    """Users, capabilities and folders of the node, beyond those of the same containers without Services."""
    before = rendering.only(rendering.chart(), "DaemonSet")
    after = rendering.only(rendering.chart(yaml.safe_load(FILES["services.yaml"])), "DaemonSet")
    section = PAGE.partition("\n## Services\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z-]+) \| (\d+) \| ([^|]*) \|([^|]*)\|([^|]*)\|$", section, re.MULTILINE)
    new = {name: folders(after, name) - folders(before, name) for name in rendering.containers(after)}
    assert [row[0] for row in rows] == [name for name, each in new.items() if each]
    for name, user, capabilities, *cells in rows:
        context = rendering.containers(after)[name]["securityContext"]
        assert context.get("runAsUser", 0) == int(user)
        assert capabilities == ("none" if name == "agent" else "as above")
        said = [set(re.findall(r"`(/[^`]+)`", cell)) for cell in cells]
        assert said == [{path for path, read in new[name] if read is it} for it in (False, True)]
    daemons = [rendering.containers(each)["cni-daemon"]["securityContext"] for each in (before, after)]
    assert daemons[0] == daemons[1]


def test_services_are_on_for_all_networks_by_the_policy_that_the_daemon_gets() -> None:
    """With somebody's own rules from another file of values, as Helm puts both together."""
    values = yaml.safe_load(FILES["services.yaml"])
    rules_ = [{"vlans": ["100-199"]}]
    objects = rendering.chart({**values, "policy": {**values["policy"], "rules": rules_}})
    sound(objects)
    [written] = [each for each in objects if each["metadata"]["name"] == "sriov-underlay-policy"]
    text = written["data"]["policy.json"]
    assert json.loads(text) == {"defaults": {"services": "auto", "hostLink": True}, "rules": rules_}
    taken = policy_rules.parse(text.encode(), "policy.json")
    assert taken.defaults == policy_rules.NetworkDefaults(service_modes.ServicesMode.AUTO, host_link=True)


def folders(daemonset: Object, name: str) -> set[tuple[str, bool]]:
    """The node's folders that a container sees, and whether only to read them."""
    volumes = daemonset["spec"]["template"]["spec"]["volumes"]
    paths = {each["name"]: each["hostPath"]["path"] for each in volumes if "hostPath" in each}
    mounts = rendering.containers(daemonset).get(name, {}).get("volumeMounts", [])
    return {(paths[each["name"]], bool(each.get("readOnly"))) for each in mounts if each["name"] in paths}


DISTRIBUTIONS = {
    row[0]: row[1:] for row in re.findall(r"^\| ([A-Z]?\w+)[^|]* \| `(/[^`]+)` \| `(/[^`]+)`", PAGE, re.MULTILINE)
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_folders_of_a_distribution_are_values(name: str) -> None:
    root, plugins = DISTRIBUTIONS[name]
    objects = rendering.chart({"kubelet": {"root": root}, "cni": {"binDir": plugins}})
    sound(objects)
    volumes = rendering.only(objects, "DaemonSet")["spec"]["template"]["spec"]["volumes"]
    paths = {each["hostPath"]["path"] for each in volumes if "hostPath" in each}
    assert {plugins, f"{root}/device-plugins", f"{root}/pod-resources"} <= paths


def test_all_distributions_are_in_the_table() -> None:
    assert {"kubeadm", "RKE2", "k3s", "k0s", "MicroK8s", "Talos", "OpenShift"} <= set(DISTRIBUTIONS)


def test_the_page_says_of_each_distribution_what_was_tried() -> None:
    """And a test that it names is there."""
    section = PAGE.partition("\n## What was tried\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]*) ?\|$", section, re.MULTILINE)[1:]
    named = {name.removesuffix(" 4") for row in rows for name in re.split(", | and ", row[0])}
    assert {*DISTRIBUTIONS, "Ubuntu", "CRI-O", "arm64", "Debian 12", "Debian 13"} <= named
    paths = {path for _, tried, _ in rows for path in re.findall(r"`([^`]+/[^`]+)`", tried)}
    assert len(paths) > 8
    assert [path for path in paths if not (rendering.CHART.parents[2] / path).exists()] == []


def test_the_versions_that_are_named_are_those_that_are_tried() -> None:
    assert f"Kubernetes {test_rendering.VERSIONS[0]} to {test_rendering.VERSIONS[-1]}" in PAGE


def test_a_value_that_is_named_is_one() -> None:
    values = yaml.safe_load((rendering.CHART / "values.yaml").read_text())
    groups = [group for group, found in values.items() if isinstance(found, dict)]
    named = set(re.findall(rf"`((?:{'|'.join(groups)})\.\w+)", PAGE)) - {"config.json"}
    assert len(named) > 5
    assert [each for each in named if each.partition(".")[2] not in values[each.partition(".")[0]]] == []
