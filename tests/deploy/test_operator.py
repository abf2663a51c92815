"""Below sriov-network-operator: what it writes is read, its arguments are taken, and the daemon goes beside it.

The inputs in operator/ are of our own making, by the operator's templates and the documentation of its fields.
"""

import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from deviceplugin import flags
from sriov import settings
from sriov.pools import config, resources, selectors
from sriov_cni.spec import environment, vf_request
from sriovctl.checks import files
from sriovctl.node import cni_setup
from tests.deploy import rendering, rules, test_rendering
from tests.deploy.rendering import Object
from tests.examples import pages, table
from tests.hack import test_containerfile

HERE = pathlib.Path(__file__).parent / "operator"
NETWORKS, CONFIGS = (HERE / name for name in ("networks.yaml", "device-plugin-config.yaml"))
PAGE = "docs/operator.md"
NAMESPACE = "sriov-network-operator"
BESIDE: Object = {"operator": {"enabled": True}}
ARGUMENTS = ["--log-level=10", "--resource-prefix=openshift.io", "--config-file=/etc/pcidp/node-1"]
VF = "0000:3b:02.0"

WANTED = {
    "plain": settings.VfSettings(),
    "every-key": settings.VfSettings(
        vlan=100,
        qos=5,
        proto=settings.VlanProto.AD,
        spoofchk=False,
        trust=True,
        link_state=settings.LinkState.DISABLE,
        min_tx_rate=10,
        max_tx_rate=100,
    ),
    "other-values": settings.VfSettings(vlan=4094, link_state=settings.LinkState.ENABLE),
    "chained": settings.VfSettings(vlan=7),
    "bonded": settings.VfSettings(),
    "infiniband": settings.VfSettings(link_state=settings.LinkState.ENABLE),
    "infiniband-chained": settings.VfSettings(),
}
"""What each network asks for its VF."""


def asked(definition: Object, **filled_in: object) -> vf_request.VfRequest:
    """What the daemon reads, once Multus has filled in the device."""
    whole = json.loads(definition["spec"]["config"])
    [ours] = [each for each in cni_setup.plugins(whole) if each["type"] in cni_setup.TYPES]
    return vf_request.read(cni_setup.document({**ours, "deviceID": VF, **filled_in}), environment.Arguments())


def networks() -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in yaml.safe_load_all(NETWORKS.read_text())}


@pytest.mark.parametrize("name", WANTED)
def test_each_network_asks_for_what_it_says(name: str) -> None:
    assert asked(networks()[name]).wanted == WANTED[name]


def test_what_a_network_names_is_named() -> None:
    """A node may declare trust and spoofchk for networks that name none."""
    assert asked(networks()["other-values"]).named == settings.Switches(trust=False, spoofchk=True)
    assert asked(networks()["plain"]).named == settings.Switches()


def test_what_a_capability_brings_is_read() -> None:
    """As Multus passes it, from the pod's annotation or from ib-kubernetes."""
    addresses = {"mac": "02:00:00:00:00:07", "ips": ["192.0.2.7/24"]}
    assert asked(networks()["every-key"], runtimeConfig=addresses).wanted.mac == "02:00:00:00:00:07"
    guid = {"infinibandGUID": "02:00:00:00:00:00:00:07"}
    assert asked(networks()["infiniband"], runtimeConfig=guid).wanted.guid == "02:00:00:00:00:00:00:07"


def test_nothing_is_strange_about_networks_but_keys_of_the_log() -> None:
    verdicts = files.judge(NETWORKS.read_bytes(), "networks.yaml", None, "openshift.io")
    assert [(each.kind, each.errors) for each in verdicts] == [(files.FileKind.NETWORK, ())] * len(WANTED)
    warnings = {warning.partition(" is ignored")[0] for each in verdicts for warning in each.warnings}
    assert warnings == {"key 'logLevel'", "key 'logFile'"}


def test_every_key_of_the_operators_template_is_there() -> None:
    """bindata/manifests/cni-config/sriov/sriov-cni-config.yaml."""
    keys = {"cniVersion", "name", "type", "vlan", "spoofchk", "trust", "vlanQoS", "vlanProto", "min_tx_rate"}
    keys |= {"max_tx_rate", "capabilities", "link_state", "logLevel", "logFile", "ipam"}
    documents = [json.loads(each["spec"]["config"]) for each in networks().values()]
    written = [plugin for each in documents for plugin in cni_setup.plugins(each) if plugin["type"] in cni_setup.TYPES]
    assert set().union(*written) == keys


def configuration(node: str) -> resources.Configuration:
    text = yaml.safe_load(CONFIGS.read_text())["data"][node]
    return config.parse(text.encode(), node, "openshift.io")


@pytest.mark.parametrize("node", ["node-2", "node-3"])
def test_a_node_without_a_policy_has_no_resource(node: str) -> None:
    found = configuration(node)
    assert found.resources == ()
    assert found.warnings == (f"{node}: there is no resource in resourceList, nothing is advertised",)


def test_each_resource_takes_what_its_policy_says() -> None:
    found = configuration("node-1")
    assert found.warnings == ()
    assert [each.full_name for each in found.resources] == [
        f"openshift.io/{name}" for name in ("rail_a", "dpdk", "vhost", "virtio", "ib_vf")
    ]
    assert [each.exclude_topology for each in found.resources] == [False, True, False, False, False]
    rail, dpdk, vhost, virtio, infiniband = (only(each) for each in found.resources)
    assert rail == selectors.Selector(
        vendors=frozenset({"15b3"}),
        devices=frozenset({"1018"}),
        pf_names=(selectors.Functions("ens1f0", ((0, 7),)), selectors.Functions("ens1f1")),
        root_devices=(selectors.Functions("0000:3b:00.0"),),
        link_types=frozenset({"ether"}),
        is_rdma=True,
        need_vhost_net=True,
    )
    assert dpdk == selectors.Selector(
        vendors=frozenset({"8086"}), drivers=frozenset({"vfio-pci"}), pci_addresses=frozenset({"0000:00:05.0"})
    )
    assert (vhost.vdpa_type, virtio.vdpa_type) == ("vhost", "virtio")
    assert (infiniband.link_types, infiniband.is_rdma) == (frozenset({"infiniband"}), True)


def only(resource: resources.Resource) -> selectors.Selector:
    assert resource.alternatives is not None
    [selector] = resource.alternatives
    return selector


@pytest.mark.parametrize("more", [[], ["--use-cdi"]])
def test_the_entry_point_of_the_device_plugin_takes_the_operators_arguments(more: list[str]) -> None:
    """bindata/manifests/plugins/sriov-device-plugin.yaml."""
    [_, *own] = test_containerfile.TARGETS["device-plugin"]
    given = flags.parser().parse_args([*own, *ARGUMENTS, *more])
    assert (given.wait_for_config, given.use_cdi) == (True, bool(more))
    assert (given.log_level, given.resource_prefix) == ("info", "openshift.io")
    assert str(given.config_file) == "/etc/pcidp/node-1"


@pytest.mark.parametrize(("target", "plugin"), [("cni", "sriov"), ("ib-cni", "ib-sriov")])
def test_the_entry_point_of_a_cni_image_puts_the_shim_there_and_ends(
    target: str, plugin: str, tmp_path: pathlib.Path
) -> None:
    """With the operator's argument (bindata/manifests/daemon/daemonset.yaml), over what is there, and again."""
    place = tmp_path / "host/opt/cni/bin"
    place.mkdir(parents=True)
    (place / plugin).write_bytes(b"\x7fELF of somebody else")
    [program, *own] = test_containerfile.TARGETS[target]
    assert program == "sriov-underlay"
    command = [sys.executable, "-m", "sriov_installer", f"--root={tmp_path}", *own, "--no-sleep"]
    for _ in range(2):
        subprocess.run(command, cwd=rendering.ROOT, capture_output=True, text=True, check=True, timeout=60)
        states = cni_setup.InstalledPlugin
        assert cni_setup.installed(place) == {**dict.fromkeys(cni_setup.TYPES, states.MISSING), plugin: states.OURS}
        assert b"SRIOV_CNI_SOCKET" in (place / plugin).read_bytes()
        assert (place / f"{plugin}.before-sriov-underlay").read_bytes() == b"\x7fELF of somebody else"


def test_the_operators_objects_are_checked_as_the_page_says() -> None:
    """What kubectl would print is one List or object with what the files have."""
    examples = table.run_by(__file__, "test_the_operators_objects_are_checked_as_the_page_says")
    items = {"apiVersion": "v1", "kind": "List", "items": [*networks().values()]}
    printed = {"configmap": CONFIGS.read_text(), "network-attachment-definitions": yaml.safe_dump(items)}
    for example in examples:
        kubectl, _, check = example.command.partition(" | ")
        [program, *words] = shlex.split(check)
        command = [sys.executable, "-m", program, *words]
        text = printed.pop(kubectl.split()[2])
        done = subprocess.run(
            command, cwd=rendering.ROOT, input=text, capture_output=True, text=True, check=True, timeout=60
        )
        assert " fine\n" in done.stdout
    assert printed == {}


def test_a_wrong_key_of_the_operators_configmap_is_named_by_its_node() -> None:
    whole = yaml.safe_load(CONFIGS.read_text())
    whole["data"]["node-2"] = '{"resourceList":[{"resourceName":"x_"}]}'
    verdicts = files.judge(json.dumps(whole).encode(), "f", None, "openshift.io")
    assert [(each.source, bool(each.errors)) for each in verdicts] == [
        (f"f: ConfigMap device-plugin-config, {node}", node == "node-2") for node in ("node-1", "node-2", "node-3")
    ]


def values_of_the_page() -> Object:
    values: Object = yaml.safe_load(pages.files(PAGE)["beside-the-operator.yaml"])
    return values


def overlay(folder: pathlib.Path) -> list[Object]:
    """What the page's `kubectl apply -k` sends."""
    shutil.copytree(rendering.ROOT / "deploy", folder / "deploy")
    pages.write(PAGE, folder)
    return rendering.kustomize(folder / "my-nodes")


def test_the_overlay_of_the_page_names_the_image_and_nothing_else(tmp_path: pathlib.Path) -> None:
    mine, plain = overlay(tmp_path), rendering.kustomize(rendering.ROOT / "deploy/operator")
    text = json.dumps(mine).replace("registry.example/sriov-underlay:", "localhost/sriov-underlay:")
    assert json.loads(text) == plain != mine


def test_the_values_of_the_page_are_those_of_the_plain_manifests(tmp_path: pathlib.Path) -> None:
    chart = test_rendering.by_name(rendering.chart(values_of_the_page(), namespace=NAMESPACE))
    assert set(chart) == {("DaemonSet", "sriov-underlay"), ("ServiceAccount", "sriov-underlay")}
    assert chart == test_rendering.by_name(overlay(tmp_path))


def test_the_images_of_the_page_are_those_that_are_built() -> None:
    named = set(yaml.safe_load(pages.files(PAGE)["operator-values.yaml"])["images"].values())
    built = {each.command.split()[-1] for each in pages.examples(PAGE) if "--target" in each.command}
    assert named < built
    rows = re.findall(r"^\| `SRIOV_\w+_IMAGE` \| `images\.\w+` \| `([\w-]+)` \|", pages.text(PAGE), re.MULTILINE)
    assert rows == [*test_containerfile.TARGETS]


def test_all_of_it_is_in_the_operators_namespace(tmp_path: pathlib.Path) -> None:
    assert {each["metadata"]["namespace"] for each in overlay(tmp_path)} == {NAMESPACE}


VARIANTS: dict[str, Object] = {
    "alone": {},
    "nobody looks": {"sriovctl": {"enabled": False}},
    "metrics": {"metrics": {"proxy": {"enabled": True, "image": "x/y:1"}, "podMonitor": {"enabled": True}}},
    "services": {"services": {"enabled": True}, "policies": {"enabled": True}},
    "groups": {"nodeGroups": {"a": {"policy": {"rules": []}}, "b": {}}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_beside_the_operator_there_is_neither_shim_nor_device_plugin(variant: str) -> None:
    objects = rendering.chart({**BESIDE, **VARIANTS[variant]}, namespace=NAMESPACE)
    test_rendering.validate(objects)
    assert rules.problems(objects) == []
    for daemonset in (each for each in objects if each["kind"] == "DaemonSet"):
        assert {"install-shim", "device-plugin", "device-plugin-metrics"}.isdisjoint(rendering.containers(daemonset))
        assert "affinity" not in daemonset["spec"]["template"]["spec"] or variant == "groups"
    assert "feature.node.kubernetes.io" not in json.dumps(objects)
    assert [each for each in objects if "pre-delete" in json.dumps(each["metadata"])] == []
    ports = [port["port"] for each in objects if each["kind"] == "PodMonitor" for port in endpoints(each)]
    assert ports == ["cni-daemon"] * (variant == "metrics")


def endpoints(monitor: Object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = monitor["spec"]["podMetricsEndpoints"]
    return found


def test_sriovctl_reads_what_the_operator_wrote_for_its_node() -> None:
    daemonset = rendering.only(rendering.chart(BESIDE, namespace=NAMESPACE), "DaemonSet")
    container = rendering.containers(daemonset)["sriovctl"]
    given = {each["name"]: each for each in container["env"]}
    assert given["SRIOVCTL_CONFIG_FILE"]["value"] == "/etc/pcidp/$(NODE_NAME)"
    assert [*given].index("NODE_NAME") < [*given].index("SRIOVCTL_CONFIG_FILE"), "Kubernetes expands what is above"
    [volume] = [each for each in daemonset["spec"]["template"]["spec"]["volumes"] if each["name"] == "config"]
    name = yaml.safe_load(CONFIGS.read_text())["metadata"]["name"]
    assert volume["configMap"] == {"name": name, "optional": True}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"cni": {"uninstall": True}}, "cni.uninstall is true with operator.enabled"),
        ({"cni": {"replaceIncumbent": True}}, "cni.replaceIncumbent is true with operator.enabled"),
        ({"cdi": {"enabled": True}}, "cdi.enabled is true with operator.enabled"),
        ({"dra": {"enabled": True}}, "dra.enabled is true with operator.enabled"),
        (
            {"nodeGroups": {"a": {"config": {"resourceList": []}}}},
            "nodeGroups.a.config with operator.enabled: the operator writes the device plugin's configuration",
        ),
        ({"operator": {"enable": True}}, "at '/operator': additional properties 'enable' not allowed"),
    ],
)
def test_what_is_the_operators_is_refused_by_name(values: Object, says: str) -> None:
    with pytest.raises(rendering.RefusedError) as refused:
        rendering.chart({**BESIDE, **values})
    assert says in str(refused.value)


def test_the_notes_say_what_comes_next() -> None:
    told = rendering.notes(BESIDE, namespace=NAMESPACE)
    assert f"kubectl --namespace {NAMESPACE} rollout status daemonset/sriov-underlay" in told
    assert "SRIOV_CNI_IMAGE and SRIOV_DEVICE_PLUGIN_IMAGE" in told
    assert "Before helm uninstall, the operator's variables name its own images again" in told
    assert "removes the shim from every node" not in told
    assert "--container device-plugin" not in told
