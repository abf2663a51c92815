"""A cluster of four nodes for `kubectl sriov`: the real kubectl at a stand-in's API server.

Behind two of the nodes is a node in memory, in which exec runs the real sriovctl; the third cannot be reached, and the
pod of the fourth has not started.
"""

import contextlib
import dataclasses
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.deploy import clusters, rendering
from tests.fakes.cluster import apiserver, kinds
from tests.fakes.cluster.kinds import Object, RefusedError
from tests.fakes.cluster.kubelets import Ended
from tests.fakes.cluster.objects import Objects
from tests.sriovctl import nodes

NAMES = ("node-1", "node-2", "node-3", "node-4")
DIALING = "error dialing backend: dial tcp 192.0.2.3:10250: connect: no route to host"


@dataclasses.dataclass(slots=True)
class Kubelets:
    """`machines` by node. `pause` is what each answer takes, in seconds; `printed` is what a broken node answers."""

    machines: dict[str, nodes.Node]
    pause: float = 0
    printed: dict[str, str] = dataclasses.field(default_factory=dict)

    def started(self, pod: Object) -> dict[str, str]:
        return {}

    def stopped(self, pod: Object) -> None: ...

    def said(self, pod: Object, container: str) -> str:
        return ""

    def run(self, pod: Object, container: str, command: list[str], sent: str) -> Ended:
        if (printed := self.printed.get(pod["spec"]["nodeName"])) is not None:
            return Ended(0, printed)
        machine = self.machines.get(pod["spec"]["nodeName"])
        if machine is None:
            raise RefusedError(500, "InternalError", DIALING)
        time.sleep(self.pause)
        assert (container, command[0]) == ("sriovctl", "sriovctl")
        line = [sys.executable, "-m", "sriovctl", *machine.places, *command[1:]]
        done = subprocess.run(line, cwd=rendering.ROOT, input=sent, capture_output=True, text=True, check=False)
        return Ended(done.returncode, done.stdout, done.stderr)


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    objects: Objects
    kubelets: Kubelets
    environment: dict[str, str]

    def types(self, *words: str, sent: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env=self.environment, input=sent or "", capture_output=True, text=True, check=False, timeout=60
        )

    def sriov(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.types("kubectl", "sriov", *arguments)

    def wants(self, name: str, node: str | None, *, namespace: str = "default", resource: str = nodes.RAIL) -> None:
        """A pod of a user."""
        limits = {"resources": {"limits": {resource: "1"}, "requests": {resource: "1"}}}
        spec: Object = {"containers": [{"name": "c", "image": "busybox:1.37", **limits}]}
        status: Object = {"phase": "Running"}
        if node:
            spec["nodeName"] = node
        else:
            told = {"type": "PodScheduled", "status": "False", "message": f"0/4 nodes: 4 Insufficient {resource}"}
            status = {"phase": "Pending", "conditions": [told]}
        self.create(namespace, name, {}, spec, status)

    def create(self, namespace: str, name: str, labels: dict[str, str], spec: Object, status: Object) -> None:
        about = {"name": name, "labels": labels}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec, "status": status}
        self.objects.create(kinds.POD, namespace, pod)


@contextlib.contextmanager
def opened(folder: pathlib.Path, machines: list[nodes.Node]) -> Iterator[Cluster]:
    objects = Objects()
    kubelets = Kubelets(dict(zip(NAMES, machines, strict=False)))
    for name in ("default", "kube-system"):
        objects.create(kinds.NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    with apiserver.serving(objects, kubelets) as url:
        made = Cluster(objects, kubelets, clusters.environment(folder, url))
        for node in NAMES:
            status = {"phase": "Pending" if node == "node-4" else "Running"}
            names = ("device-plugin", "cni-daemon", "sriovctl")
            spec = {"nodeName": node, "containers": [{"name": each, "image": "sriov:1"} for each in names]}
            made.create("kube-system", f"sriov-{node}", {"app.kubernetes.io/name": "sriov-underlay"}, spec, status)
        yield made
