"""`kubectl sriov traffic`, as it is typed: the real kubectl creates pods at a stand-in's API server, runs commands in
them and deletes them.

What runs in a pod is answered here, with the words of the tools; docs/performance.md has figures of the real ones.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator

import pytest

from sriovctl.traffic import pods, tools
from sriovctl.views import documents
from tests import terminals
from tests.deploy import clusters as deployed
from tests.examples import table
from tests.fakes.cluster import apiserver, controllers, kinds, patches
from tests.fakes.cluster.kinds import Object
from tests.fakes.cluster.kubelets import Ended
from tests.fakes.cluster.objects import Objects
from tests.kernel import namespaces
from tests.sriovctl.traffic import test_tools

NODES = ("node-1", "node-2")
RESOURCE = "intel.com/rail_a"
COMMAND = ("kubectl", "sriov", "traffic", "rail-a", "--from=node-1", "--to=node-2", "--image=tools:1")
ONCE = ("--rounds=1", "--seconds=1", "--timeout=30")
_TABLES = "  sl  local_address rem_address st\n 0: 0:1451 0:0 0A 0\n 1: 0:1389 0:0 0A 0\n 2: 0:2B67 0:0 07 0\n"
_CPU = "cpu  0 0 0 {idle} 0 0 0\ncpu0 0 0 0 {idle} 0 0 0\n{up} 1.0\n"


@dataclasses.dataclass(slots=True)
class Kubelets:
    """Nodes on which every pod starts but those in `refused`. What a link counts grows with each look by `step`.

    While `stuck` is set no tool answers.
    """

    objects: Objects
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    step: int = 10**9
    looks: int = 0
    ran: list[list[str]] = dataclasses.field(default_factory=list)
    seen: list[Object] = dataclasses.field(default_factory=list)
    stuck: threading.Event = dataclasses.field(default_factory=threading.Event)
    freed: threading.Event = dataclasses.field(default_factory=threading.Event)

    def started(self, pod: Object) -> dict[str, str]:
        """As Multus tells of the pod's VF, and the kubelet of its address."""
        about, number = pod["metadata"], NODES.index(pod["spec"]["nodeName"]) + 1
        self.seen.append(pod)
        network = about["annotations"]["k8s.v1.cni.cncf.io/networks"]
        told = json.dumps([{"name": network, "interface": "net1", "ips": [f"198.51.100.{number}"]}])
        status = {"podIPs": [{"ip": f"10.1.0.{number}"}]}
        change = {"metadata": {"annotations": {"k8s.v1.cni.cncf.io/network-status": told}}, "status": status}
        self.objects.patch(kinds.POD, about["namespace"], about["name"], patches.merging(change))
        return {}

    def stopped(self, pod: Object) -> None: ...

    def said(self, pod: Object, container: str) -> str:
        return ""

    def run(self, pod: Object, container: str, command: list[str], sent: str) -> Ended:
        self.ran.append(command)
        if command[0] == "cat":
            return Ended(0, self._counted() if "/proc/stat" in command else _TABLES)
        if self.stuck.is_set():
            self.freed.wait(60)
        if command[0] == "iperf3":
            far = "10.1.0.2" in command[1]
            return Ended(0, test_tools.iperf3(1000, 18 * (500 if far else 1000)))
        return Ended(0, test_tools.SOCKPERF if command[0] == "sockperf" else test_tools.IPERF)

    def _counted(self) -> str:
        self.looks += 1
        return f"{self.looks * self.step}\n" * 2 + _CPU.format(idle=self.looks * 50, up=self.looks)


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    objects: Objects
    kubelets: Kubelets
    environment: dict[str, str]

    def types(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env=self.environment, input="", capture_output=True, text=True, check=False, timeout=120
        )

    def pods(self) -> list[Object]:
        return self.objects.listed(kinds.POD)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    objects = Objects()
    kubelets = Kubelets(objects)
    objects.create(kinds.NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    for name in NODES:
        about = {"name": name, "labels": {"kubernetes.io/hostname": f"{name}.example"}}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": about, "status": {"allocatable": {RESOURCE: "7"}}}
        objects.create(kinds.NODE, "", node)
    _network(objects, "rail-a", {pods.RESOURCE: RESOURCE})
    with (
        tempfile.TemporaryDirectory(prefix="kt-") as folder,
        apiserver.serving(objects, kubelets) as url,
        controllers.running(objects, kubelets),
    ):
        yield Cluster(objects, kubelets, deployed.environment(pathlib.Path(folder), url))
        kubelets.freed.set()


def _network(objects: Objects, name: str, annotations: dict[str, str]) -> None:
    about = {"name": name, "annotations": annotations}
    made = {"apiVersion": kinds.NETWORK.api, "kind": kinds.NETWORK.name, "metadata": about, "spec": {"config": "{}"}}
    objects.create(kinds.NETWORK, "default", made)


def test_a_person_agrees_and_both_ways_are_side_by_side(cluster: Cluster) -> None:
    """Nothing is done before, and afterwards the pods are gone."""
    plain = {**cluster.environment, "NO_COLOR": "1"}
    status, shown = terminals.screen([*COMMAND, *ONCE], 120, plain, typed="n\n")
    assert (status, "Do this? [y/N]" in shown, cluster.kubelets.seen) == (4, True, [])
    status, shown = terminals.screen([*COMMAND, *ONCE], 120, plain, typed="y\n")
    assert (status, "measuring traffic" in shown) == (0, True), shown
    _, head, tcp = shown[shown.index("\nFIGURE") :].splitlines()[:3]
    assert re.split(" {2,}", head) == ["FIGURE", "VF", "CLUSTER'S NETWORK"]
    assert re.split(" {2,}", tcp) == ["TCP, Mbit/s", "0.07", "0.04 (0.50)"]
    assert cluster.pods() == []
    sender, receiver = sorted(cluster.kubelets.seen, key=lambda pod: str(pod["spec"]["nodeName"]))
    assert (sender["spec"]["nodeName"], receiver["spec"]["nodeName"]) == NODES
    for pod in (sender, receiver):
        assert pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] == "default/rail-a"
        assert pod["spec"]["containers"][0]["resources"]["limits"] == {RESOURCE: "1"}
        assert pod["spec"]["activeDeadlineSeconds"] > 60
    commands = [each["command"] for each in receiver["spec"]["containers"]]
    assert commands == [list(each) for each in tools.SERVERS.values()]


def test_it_does_not_run_by_itself(cluster: Cluster) -> None:
    """As docs/sriovctl.md has it: it says on which nodes, by which tools, how long, and how much is sent."""
    [example] = table.run_by(__file__, "test_it_does_not_run_by_itself")
    ran = cluster.types(*example.command.split())
    said = re.sub(r"sriov-traffic-\w{6}-", "sriov-traffic-3f9a1c-", ran.stderr)
    refused = "nothing is done: cannot ask, stdin is not a terminal; use --yes\n"
    assert (ran.returncode, ran.stdout, said) == (4, "", example.printed.replace("Do this? [y/N]:\n", refused))
    assert (cluster.kubelets.seen, cluster.kubelets.ran) == ([], [])
    ran = cluster.types(*example.command.split(), "--at-most=1G", "--rounds=1")
    assert "at most 2.2 GB over each of the two networks,\nat up to 1 Gbit/s" in ran.stderr


def deleting(cluster: Cluster, folder: pathlib.Path, does: str) -> dict[str, str]:
    """An environment in which kubectl does this instead of deleting anything."""
    real = cluster.environment["PATH"].partition(":")[0]
    (folder / "kubectl").write_text(f'#!/bin/sh\n[ "$1" != delete ] || {{ {does}; }}\nexec {real}/kubectl "$@"\n')
    (folder / "kubectl").chmod(0o755)
    return {**cluster.environment, "PATH": f"{folder}:{cluster.environment['PATH']}"}


def test_pods_that_cannot_be_deleted_are_named_and_the_figures_are_printed(
    cluster: Cluster, tmp_path: pathlib.Path
) -> None:
    """kubectl is one that may not delete."""
    away = dataclasses.replace(cluster, environment=deleting(cluster, tmp_path, "echo error: forbidden >&2; exit 1"))
    ran = away.types(*COMMAND, *ONCE, "--yes", "--output=json")
    names = [f"pod/{each['metadata']['name']}" for each in cluster.pods()]
    assert (len(names), ran.returncode) == (2, 1), ran
    told = "the pods could not be deleted: forbidden; do it: kubectl delete --namespace=default pod/sriov-traffic-"
    assert told in ran.stderr
    assert all(name in ran.stderr for name in names)
    document = json.loads(ran.stdout)
    importlib.import_module("jsonschema").validate(document, documents.schema())
    assert (document["network"], document["sender"], document["receiver"]) == ("default/rail-a", *NODES)
    [tcp] = [each for each in document["items"] if (each["figure"], each["way"]) == ("tcp_mbit", "cluster")]
    assert tcp == {"figure": "tcp_mbit", "way": "cluster", "median": 0.036, "ratio": 0.5, "rounds": [0.036]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_who_ends_it_has_no_pods_left(cluster: Cluster, number: signal.Signals) -> None:
    with stuck(cluster, cluster.environment) as process:
        os.killpg(process.pid, number)
        cluster.kubelets.freed.set()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert cluster.pods() == []


def test_who_does_not_wait_for_the_deletion_reads_what_is_left(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    begun = tmp_path / "begun"
    with stuck(cluster, deleting(cluster, tmp_path, f"touch {begun}; exec sleep 60")) as process:
        os.killpg(process.pid, signal.SIGINT)
        cluster.kubelets.freed.set()
        assert namespaces.until(begun.exists, 60)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the pods could not be deleted: it was ended; do it: kubectl delete --namespace=default pod/sriov-" in said


@contextlib.contextmanager
def stuck(cluster: Cluster, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The command, whose first measurement does not end.

    A script that is started with & has its children ignore SIGINT, as a terminal has not.
    """
    cluster.kubelets.stuck.set()
    words = ["env", "--default-signal=INT", *COMMAND, *ONCE, "--yes"]
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert namespaces.until(lambda: any(each[0] == "iperf3" for each in cluster.kubelets.ran), 60)
        yield process


def test_what_a_tool_says_ends_it_and_the_pods(cluster: Cluster) -> None:
    cluster.kubelets.step = 0
    ran = cluster.types(*COMMAND, *ONCE, "--yes")
    assert ran.returncode == 3
    assert (
        "VF, TCP throughput, one connection: 18000 bytes came over, 0 by the links: there is a shorter way"
        in ran.stderr
    )
    assert cluster.pods() == []


def test_pods_that_do_not_start_are_given_up(cluster: Cluster) -> None:
    _network(cluster.objects, "rail-b", {pods.RESOURCE: "intel.com/rail_b"})
    words = [each.replace("rail-a", "rail-b") for each in COMMAND]
    ran = cluster.types(*words, *ONCE[:2], "--timeout=3", "--yes")
    assert ran.returncode == 3
    assert re.search(
        r"pod default/sriov-traffic-\w{6}-sender is not ready after 3 s: nothing is known of it", ran.stderr
    )
    assert cluster.pods() == []


def test_what_cannot_be_is_named(cluster: Cluster) -> None:
    _network(cluster.objects, "bridge", {})
    for words, status, says in (
        (["--to=node-1"], 2, "--from and --to are the same node node-1: name two"),
        (["--at-most=fast"], 2, "'fast' is no rate; write bits a second as 500M or 10G"),
        (["--to=node-9"], 3, 'nodes "node-9" not found'),
        (["--namespace=other"], 3, 'namespaces "other" not found'),
        (["bridge"], 3, f"network default/bridge is for no resource: it has no annotation {pods.RESOURCE}"),
    ):
        line = [*COMMAND, *words] if words[0].startswith("-") else [*COMMAND[:3], *words, *COMMAND[4:]]
        ran = cluster.types(*line, "--yes")
        assert (ran.returncode, says in ran.stderr) == (status, True), ran
    assert cluster.kubelets.seen == []
