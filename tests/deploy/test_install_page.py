"""What docs/install.md lets its reader type works, as far as it can be tried without a cluster.

What goes to a cluster is rendered from the page's own files and checked as the chart is. What asks a cluster is given
to the real kubectl, with nobody at the other end: its words are right if all it lacks is the connection.
"""

import json
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from deviceplugin import conf as plugin_conf
from sriov_cni import conf
from tests.deploy import rendering, rules, test_rendering
from tests.deploy.rendering import Object

PAGE = (rendering.ROOT / "docs/install.md").read_text()
FILES = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
PAGES = ("docs/install.md", "docs/quickstart.md", "README.md")
NOWHERE = "127.0.0.1:9"  # discard, where nobody listens


def lines(page: str) -> list[str]:
    """What its reader types for a cluster; everything that is typed on this page is."""
    blocks = re.findall(r"```console\n(.*?)```", (rendering.ROOT / page).read_text(), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


COMMANDS = list(dict.fromkeys(line for page in PAGES for line in lines(page)))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the reader is: a checkout, with the page's files written down."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(rendering.ROOT / "deploy", folder / "deploy")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_page_lets_its_reader_type(command: str, reader: pathlib.Path) -> None:
    match shlex.split(command):
        case ["helm", *arguments]:
            sound(rendering.objects(rendering.helm(arguments, folder=reader)))
        case ["kubectl", "apply", "-k", folder]:
            sound(rendering.kustomize(reader / folder))
        case ["kubectl", "apply", "-f", file]:
            sound(list(yaml.safe_load_all((reader / file).read_text())))
        case ["kubectl", *arguments]:
            assert "connection refused" in asked(arguments, reader)
        case _:
            pytest.fail(f"nothing tries {command!r}")


def sound(objects: list[Object]) -> None:
    """Custom resources have no schema here; what is in them is tried below."""
    test_rendering.validate([each for each in objects if "." not in each["apiVersion"]])
    assert rules.problems(objects) == []


def asked(arguments: list[str], home: pathlib.Path) -> str:
    command = [str(rendering.KUBECTL), f"--server=http://{NOWHERE}", *arguments]
    environment = {"HOME": str(home), "KUBECONFIG": "/dev/null"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr


def test_kubectl_is_heard_when_the_words_are_wrong(tmp_path: pathlib.Path) -> None:
    assert "unknown flag" in asked(["get", "nodes", "--outputs", "json"], tmp_path)


def test_both_ways_of_the_page_lead_to_the_same(reader: pathlib.Path) -> None:
    """The overlay and the values say the same: so do the objects, but for how the JSON is laid out."""
    [command] = [line for line in lines("docs/install.md") if line.startswith("helm upgrade --install")]
    helm, overlay = (
        {(each["kind"], each["metadata"]["name"]): each for each in objects}
        for objects in (
            rendering.objects(rendering.helm(shlex.split(command)[1:], folder=reader)),
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
    wanted = conf.attachment(filled_in(json.loads(network["spec"]["config"])), "")
    assert (wanted.wanted.vlan, conf.network(filled_in(json.loads(network["spec"]["config"]))).ipam) == (
        100,
        "host-local",
    )


def filled_in(configuration: Object) -> bytes:
    """As Multus passes it on."""
    return json.dumps({**configuration, "deviceID": "0000:01:10.0"}).encode()


def test_the_network_of_podman() -> None:
    [network] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    [plugin] = network.pop("plugins")
    wanted = conf.attachment(json.dumps({**network, **plugin}).encode(), "")
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


def test_the_versions_that_are_named_are_those_that_are_tried() -> None:
    assert f"Kubernetes {test_rendering.VERSIONS[0]} to {test_rendering.VERSIONS[-1]}" in PAGE


def test_a_value_that_is_named_is_one() -> None:
    values = yaml.safe_load((rendering.CHART / "values.yaml").read_text())
    groups = [group for group, found in values.items() if isinstance(found, dict)]
    named = set(re.findall(rf"`((?:{'|'.join(groups)})\.\w+)", PAGE)) - {"config.json"}
    assert len(named) > 5
    assert [each for each in named if each.partition(".")[2] not in values[each.partition(".")[0]]] == []
