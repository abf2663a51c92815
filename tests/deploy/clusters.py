"""A cluster for somebody who types: a stand-in's API server at KUBECONFIG, one node, kubectl and helm on PATH.

kubectl is the real one; helm is Helm's own library behind the flags that the pages have.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import yaml

from tests.deploy import nodes, rendering
from tests.fakes.cluster import apiserver, controllers, kinds
from tests.fakes.cluster.kinds import Object
from tests.fakes.cluster.objects import Objects

SECONDS = 60
NODE = "node-1"
_MINE = ("Node", "Namespace")
_SRIOV = f'#!/bin/sh\nPYTHONPATH={rendering.ROOT} exec {sys.executable} -P -m sriovctl.cluster "$@"\n'
_COMPLETING = (
    f"#!/bin/sh\nPYTHONPATH={rendering.ROOT} exec {sys.executable} -P -c "
    "'from sriovctl.cluster import completing; completing.main()' \"$@\"\n"
)
_HELM = f'#!/bin/sh\nPYTHONPATH={rendering.ROOT} exec {sys.executable} -m tests.deploy.helm "$@"\n'


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """`folder` is where its administrator types: a checkout, as far as it is deployed."""

    objects: Objects
    node: nodes.Node
    folder: pathlib.Path
    environment: dict[str, str]
    asked: list[apiserver.Asked]

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        """As a shell takes it."""
        return subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def stored(self) -> list[Object]:
        """What somebody has brought here; no pod is, but those that nobody owns."""
        found = [each for kind in kinds.ALL for each in self.objects.listed(kind) if kind.name not in _MINE]
        return [each for each in found if "ownerReferences" not in each["metadata"]]


@contextlib.contextmanager
def opened(folder: pathlib.Path) -> Iterator[Cluster]:
    """`folder` has a short path, since sockets will be in it."""
    objects, asked = Objects(), list[apiserver.Asked]()
    for name in ("default", "kube-system"):
        objects.create(kinds.NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    node = {
        "metadata": {"name": NODE, "labels": {"kubernetes.io/os": "linux"}},
        "status": {"allocatable": {"cpu": "4"}},
    }
    objects.create(kinds.NODE, "", {"apiVersion": "v1", "kind": "Node", **node})
    (folder / "node").mkdir()
    with (
        contextlib.closing(nodes.Node(objects, folder / "node")) as machine,
        controllers.running(objects, machine),
        apiserver.serving(objects, machine, asked) as url,
    ):
        machine.api_server = url
        yield Cluster(objects, machine, _checkout(folder), environment(folder, url), asked)


def _checkout(folder: pathlib.Path) -> pathlib.Path:
    shutil.copytree(rendering.ROOT / "deploy", folder / "checkout/deploy")
    return folder / "checkout"


def environment(folder: pathlib.Path, url: str) -> dict[str, str]:
    programs, config = folder / "bin", folder / "kubeconfig"
    programs.mkdir()
    for name, text in (
        ("helm", _HELM),
        ("kubectl-sriov", _SRIOV),
        ("kubectl_complete-sriov", _COMPLETING),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "kubectl").symlink_to(rendering.KUBECTL)
    context = {"cluster": "c", "user": ""}
    said = {"clusters": [{"name": "c", "cluster": {"server": url}}], "contexts": [{"name": "c", "context": context}]}
    config.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "c", **said}))
    return {"HOME": str(folder), "KUBECONFIG": str(config), "PATH": f"{programs}:{os.environ['PATH']}"}
