"""Cluster commands of the pages, typed in the pages' order, and the results that they promise.

The API server is a stand-in on a real socket; kubectl and Helm's library are the real ones, and behind the node's
pods are the programs of this checkout. Where a page has two ways, each is gone to its end.
"""

import json
import pathlib
import re
import tempfile
from collections.abc import Iterator

import pytest
import yaml

from tests.deploy import clusters, rules, test_operator
from tests.deploy.rendering import Object
from tests.examples import pages, table
from tests.fakes.cluster import kinds

WAYS = {"helm": "helm ", "manifests": " -k "}
"""By what it is told that a block is for one way alone."""
READERS = [
    ("docs/install.md", "helm"),
    ("docs/install.md", "manifests"),
    ("docs/quickstart.md", "helm"),
    ("README.md", "helm"),
]
SEEN = {
    r"helm upgrade --install ": "STATUS: deployed\nREVISION: 1",
    r"helm test ": "TEST SUITE: sriov-underlay\nPhase: Succeeded",
    r"helm uninstall ": 'release "sriov-underlay" uninstalled',
    r"helm upgrade sriov-underlay .* --values canary.yaml$": "STATUS: deployed\nREVISION: 2",
    r"helm upgrade sriov-underlay .* --values my-values.yaml$": "STATUS: deployed\nREVISION: 3",
    r"helm upgrade sriov-underlay .* --values services.yaml$": "STATUS: deployed\nREVISION: 4",
    r"helm upgrade sriov-underlay .* --set services.uninstall=true$": "STATUS: deployed\nREVISION: 5",
    r"helm upgrade sriov-underlay .* --set services.uninstall=false$": "STATUS: deployed\nREVISION: 6",
    r"helm upgrade sriov-underlay .* --values policies.yaml$": "STATUS: deployed\nREVISION: 7",
    r"kubectl label node node-1 .*=canary$": "node/node-1 labeled",
    r"kubectl label node node-1 .*-$": "node/node-1 unlabeled",
    r"kubectl get node node-1 ": "4",
    r"kubectl .*rollout status .*-canary": 'daemon set "sriov-underlay-canary" successfully rolled out',
    r"kubectl .*rollout status daemonset/sriov-underlay$": 'daemon set "sriov-underlay" successfully rolled out',
    r"kubectl get nodes ": f'{clusters.NODE}\t{{"cpu":"4","intel.com/rail_a":"8"}}\n',
    r"kubectl apply -k ": "daemonset.apps/sriov-underlay created",
    r"kubectl apply -f ": "pod/on-a-vf created",
    r"kubectl wait ": "pod/on-a-vf condition met",
    r"kubectl exec on-a-vf -- ip address show net1": "inet 10.56.217.2/24 brd 10.56.217.255 scope global net1",
    r"kubectl .*exec .* --dry-run": "intel.com/rail_a: 8 devices",
    r"kubectl .*logs .* --container cni-daemon": "ADD on-a-vf net1",
    r"kubectl .*logs .* --container install-shim": "/sriov\n",
    r"kubectl delete pod ": 'pod "on-a-vf" deleted',
    r"kubectl .*patch ": "daemonset.apps/sriov-underlay patched",
    r"kubectl delete -k ": 'daemonset.apps "sriov-underlay" deleted',
}
"""By what a line begins with, a part of what is printed."""
SLIPS = [
    ("helm upgrade --install", "helm upgrade --instal", "unrecognized arguments: --instal"),
    ("deploy/chart/sriov-underlay", "deploy/chart/sriov-underly", '"deploy/chart/sriov-underly"'),
    ("helm uninstall sriov-underlay --namespace kube-system", "helm uninstall sriov-underlay", "release: not found"),
    ("my-values.yaml", "my-value.yaml", "my-value.yaml"),
    ("--values canary.yaml", "--values canery.yaml", "canery.yaml"),
    ("label node node-1", "label node node-2", 'nodes "node-2" not found'),
    ("daemonset/sriov-underlay-canary", "daemonset/sriov-underlay-canery", '-canery" not found'),
    ("get node node-1", "get node node-2", 'nodes "node-2" not found'),
    ("helm test sriov-underlay", "helm test sriov-underly", "release: not found"),
    ("helm uninstall sriov-underlay", "helm uninstall sriov-underly", "sriov-underly: release: not found"),
    ("--namespace kube-system rollout", "--namespace kube-systm rollout", 'namespaces "kube-systm" not found'),
    ("kubectl apply -k my-cluster", "kubectl apply -k my-clustr", "my-clustr"),
    ("kubectl apply -f rail-a.yaml", "kubectl apply -f rail-b.yaml", '"rail-b.yaml" does not exist'),
    ("rollout status daemonset/", "rollout status daemonset/x", '(NotFound): daemonsets.apps "xsriov-underlay'),
    ("kubectl get nodes --output", "kubectl get nodes --outputs", "unknown flag: --outputs"),
    ("kubectl get nodes", "kubectl get node-s", "the server doesn't have a resource type"),
    ("{.status.allocatable}", "{.status.allocatable", "unrecognized character in action"),
    ("pod/on-a-vf", "pod/on-a-pf", 'pods "on-a-pf" not found'),
    ("kubectl exec on-a-vf", "kubectl exec on-a-pf", 'pods "on-a-pf" not found'),
    ("ip address show net1", "ip address show net2", "terminated with exit code 1"),
    ("--dry-run", "--dry-runs", "terminated with exit code 2"),
    ("--container cni-daemon", "--container cni-demon", "container cni-demon is not valid"),
    ("--container install-shim", "--container install", "container install is not valid"),
    ("delete pod on-a-vf", "delete pod on-a-pf", 'pods "on-a-pf" not found'),
    ("initContainers/0/args/0", "initContainers/1/args/0", "there is no /spec/template/spec/initContainers/1/args/0"),
    ("kubectl delete -k my-cluster", "kubectl delete -k my-clustr", "my-clustr"),
]
"""A word, what it is mistyped as, and what is said then."""
SLIPS_IN_FILES = [
    ("rail-a.yaml", "resources:", "resurces:", "'resurces' was unexpected"),
    ("my-cluster/kustomization.yaml", "patches:", "patchs:", 'unknown field "patchs"'),
    ("canary.yaml", "pfNames:", "pfName:", "additional properties 'pfName' not allowed"),
    ("my-values.yaml", "repository:", "repositry:", "additional properties 'repositry' not allowed"),
]
OF_THE_OPERATOR = '{"resourceList":[{"resourceName":"rail_a","selectors":{"drivers":["igbvf"]},"SelectorObj":null}]}'
OURS = {"ConfigMap", "DaemonSet", "ServiceAccount"}


@pytest.fixture
def cluster() -> Iterator[clusters.Cluster]:
    with tempfile.TemporaryDirectory(prefix="tc", dir="/tmp") as folder, clusters.opened(pathlib.Path(folder)) as made:
        yield made


def typed(page: str, way: str) -> list[str]:
    others = [mark for name, mark in WAYS.items() if name != way]
    blocks = [[each.command for each in block if each.prompt == "$"] for block in pages.blocks(page)]
    mine = [block for block in blocks if not any(mark in line for mark in others for line in block)]
    return [line for block in mine for line in block]


@pytest.mark.root
@pytest.mark.parametrize(("page", "way"), READERS)
def test_what_is_typed_does_what_the_page_says(page: str, way: str, cluster: clusters.Cluster) -> None:
    """On docs/install.md, after slips that change nothing."""
    pages.write(page, cluster.folder)
    for line in typed(page, way):
        if page == "docs/install.md":
            slip(cluster, line)
        done = cluster.types(line)
        [seen] = [said for pattern, said in SEEN.items() if re.match(pattern, line)]
        assert (done.returncode, seen in done.stdout) == (0, True), (line, done)
        assert rules.problems(ours(cluster.stored())) == []
    if page == "docs/install.md":  # which goes on to the end
        assert named(cluster.stored()) == [("NetworkAttachmentDefinition", "rail-a")]
        assert list(cluster.node.bin.iterdir()) == []
    else:
        assert {each["kind"] for each in ours(cluster.stored())} == OURS
        assert [path.name for path in cluster.node.bin.iterdir()] == ["sriov"]


def slip(cluster: clusters.Cluster, line: str) -> None:
    there = named(cluster.stored())
    for right, wrong, told in SLIPS:
        if right in line:
            done = cluster.types(line.replace(right, wrong))
            assert (done.returncode != 0, told in done.stdout + done.stderr) == (True, True), (line, done)
    assert named(cluster.stored()) == there


def named(stored: list[Object]) -> list[tuple[str, str]]:
    return [(each["kind"], each["metadata"]["name"]) for each in stored]


def ours(stored: list[Object]) -> list[Object]:
    return [each for each in stored if each["kind"] in OURS]


@pytest.mark.root
def test_what_helm_says_in_the_end_can_be_typed(cluster: clusters.Cluster) -> None:
    """The chart's NOTES.txt, by README's lines."""
    install, rollout = typed("README.md", "helm")
    notes = re.findall(r"^ +(kubectl .*)$", cluster.types(install).stdout, re.MULTILINE)
    assert notes[0] == rollout
    assert [(line, done) for line in notes if (done := cluster.types(line)).returncode != 0] == []
    assert '"intel.com/sriov_vf":"8"' in cluster.types(notes[1]).stdout
    assert "intel.com/sriov_vf: 8 devices" in cluster.types(notes[2]).stdout
    assert "listening on " in cluster.types(notes[3]).stdout


@pytest.mark.root
def test_a_node_is_drained_and_taken_into_use_again(cluster: clusters.Cluster) -> None:
    """With README's DaemonSet on it, whose pods stay, in the order of the page: there, and back."""
    for line in typed("README.md", "helm")[:2]:
        assert cluster.types(line).returncode == 0
    examples = table.run_by(__file__, "test_a_node_is_drained_and_taken_into_use_again")
    cordon, waiting, offered, uncordon, drain = (each.command.replace("NODE", clusters.NODE) for each in examples)
    for line, seen, unschedulable in (
        (cordon, f"node/{clusters.NODE} cordoned", True),
        (waiting, "No resources found", True),
        (offered, '{"cpu":"4","intel.com/sriov_vf":"8"}', True),
        (uncordon, f"node/{clusters.NODE} uncordoned", False),
        (drain, f"node/{clusters.NODE} drained", True),
        (uncordon, f"node/{clusters.NODE} uncordoned", False),
    ):
        done = cluster.types(line)
        assert (done.returncode, seen in done.stdout + done.stderr) == (0, True), done
        [node] = cluster.objects.listed(kinds.NODE)
        assert bool(node["spec"].get("unschedulable")) is unschedulable
    assert [each["metadata"]["name"] for each in cluster.objects.listed(kinds.POD)] == [
        f"sriov-underlay-{clusters.NODE}"
    ]


def test_the_page_selects_a_pod_that_is_on_its_way_to_the_node_and_no_other() -> None:
    [waiting] = [
        each.command.replace("NODE", clusters.NODE)
        for each in table.run_by(__file__, "test_a_node_is_drained_and_taken_into_use_again")
        if "Pending" in each.command
    ]
    spec = {"nodeName": "another", "containers": [{"name": "c", "image": "i"}]}
    for name, node in (("late", clusters.NODE), ("elsewhere", "node-2")):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {**spec, "nodeName": node}}
        selected = kinds.selected({**pod, "status": {"phase": "Pending"}}, "", waiting.split()[-1])
        assert selected is (node == clusters.NODE)
    assert not kinds.selected({**pod, "status": {"phase": "Running"}}, "", waiting.split()[-1])


@pytest.mark.root
def test_sriovctl_is_run_on_a_node(cluster: clusters.Cluster) -> None:
    """With README's DaemonSet: in its container, and by kubectl's plugin."""
    for line in typed("README.md", "helm")[:2]:
        assert cluster.types(line).returncode == 0
    [example] = table.run_by(__file__, "test_sriovctl_is_run_on_a_node")
    done = cluster.types(example.command)
    assert done.stdout.startswith("SEVERITY  FINDING"), done
    rows = json.loads(cluster.types("kubectl sriov inventory --output json").stdout)["items"]
    assert [each["node"] for each in rows] == [clusters.NODE] * 9
    assert {each["pool"] for each in rows if each["role"] == "VF"} == {"intel.com/sriov_vf"}


@pytest.mark.root
def test_the_daemon_beside_the_operator_comes_and_goes(cluster: clusters.Cluster) -> None:
    """In the namespace that the operator has, with its ConfigMap there, which sriovctl in the pod reads."""
    pages.write("docs/operator.md", cluster.folder)
    operator = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": test_operator.NAMESPACE}}
    cluster.objects.create(kinds.NAMESPACE, "", operator)
    config = yaml.safe_load(test_operator.CONFIGS.read_text())
    cluster.objects.create(
        kinds.CONFIGMAP, test_operator.NAMESPACE, {**config, "data": {clusters.NODE: OF_THE_OPERATOR}}
    )
    before = named(cluster.stored())
    apply, rollout, delete = table.run_by(__file__, "test_the_daemon_beside_the_operator_comes_and_goes")
    for example, seen in (
        (apply, "daemonset.apps/sriov-underlay created"),
        (rollout, 'daemon set "sriov-underlay" successfully rolled out'),
    ):
        done = cluster.types(example.command)
        assert (done.returncode, seen in done.stdout) == (0, True), done
    assert rules.problems(ours(cluster.stored())) == []
    assert list(cluster.node.bin.iterdir()) == [], "the operator's init container brings the shim"
    rows = json.loads(cluster.types("kubectl sriov inventory --output json").stdout)
    assert {each["pool"] for each in rows["items"] if each["role"] == "VF"} == {"openshift.io/rail_a"}
    assert cluster.types(delete.command).returncode == 0
    assert named(cluster.stored()) == before


def test_every_line_is_typed_by_somebody() -> None:
    examples = table.run_by(__file__, "test_what_is_typed_does_what_the_page_says")
    gone = {(page, line) for page, way in READERS for line in typed(page, way)}
    assert {(each.page, each.command) for each in examples} == gone


def test_there_is_a_slip_for_every_line() -> None:
    lines = {line for _, way in READERS[:2] for line in typed("docs/install.md", way)}
    assert [line for line in lines if not any(right in line for right, _, _ in SLIPS)] == []


@pytest.mark.root
def test_a_slip_in_a_file_is_told(cluster: clusters.Cluster) -> None:
    """By the first line that names the file, or its folder."""
    for name, right, wrong, told in SLIPS_IN_FILES:
        pages.write("docs/install.md", cluster.folder)
        path = cluster.folder / name
        path.write_text(path.read_text().replace(right, wrong))
        lines = [line for _, way in READERS[:2] for line in typed("docs/install.md", way)]
        line = next(line for line in lines if name.partition("/")[0] in line)
        done = cluster.types(line.replace("helm upgrade sriov", "helm upgrade --install sriov"))
        assert (done.returncode != 0, told in done.stderr) == (True, True), done
    assert named(cluster.stored()) == [("NetworkAttachmentDefinition", "rail-a")], "the first file's other half"
