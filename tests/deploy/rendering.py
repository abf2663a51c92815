"""Objects as a cluster would be given them: of the chart by Helm, of the plain manifests by kubectl's kustomize.

Both render without a cluster. Both come from PyPI, so that what is tested does not depend on what is installed.
"""

import functools
import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).parents[2]
CHART = ROOT / "deploy/chart/sriov-underlay"
BASE = ROOT / "deploy/kustomize"
KUBECTL = pathlib.Path(sys.executable).with_name("kubectl")

Object = dict[str, Any]
"""A Kubernetes object as its YAML says."""

NAME, NAMESPACE = "sriov-underlay", "kube-system"


class RefusedError(Exception):
    """Helm refuses the values or the chart; the message is what a user reads."""


def chart(values: Object | None = None, *, name: str = NAME, namespace: str = NAMESPACE) -> list[Object]:
    return objects(files(values, name, namespace))


def notes(values: Object | None = None, *, name: str = NAME, namespace: str = NAMESPACE) -> str:
    return files(values, name, namespace)["sriov-underlay/templates/NOTES.txt"]


def files(values: Object | None = None, name: str = NAME, namespace: str = NAMESPACE) -> dict[str, str]:
    """What `helm template` does, by the template's path."""
    return dict(_rendered(json.dumps(values or {}), name, namespace))


@functools.cache
def _rendered(values: str, name: str, namespace: str) -> dict[str, str]:
    return helm(["template", name, str(CHART), f"--namespace={namespace}", "--values=-"], values)


def judged(values: Sequence[Object]) -> list[str]:
    """What Helm says of each of these values by the chart's schema; nothing if it takes them."""
    said: list[str] = json.loads(_told(["judge", str(CHART)], json.dumps(values), ROOT))
    return said


def linted(values: Object | None = None) -> list[Object]:
    """What `helm lint` finds."""
    found: list[Object] = json.loads(_told(["lint", str(CHART), "--values=-"], json.dumps(values or {}), ROOT))
    return found


def helm(arguments: Sequence[str], stdin: str = "", folder: pathlib.Path = ROOT) -> dict[str, str]:
    """What helm, with these arguments and started in that folder, would send to a cluster."""
    rendered: dict[str, str] = json.loads(_told(arguments, stdin, folder))
    return rendered


def _told(arguments: Sequence[str], stdin: str, folder: pathlib.Path) -> str:
    command = [sys.executable, "-m", "tests.deploy.helm", *arguments]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RefusedError(done.stderr)
    return done.stdout


def objects(rendered: dict[str, str]) -> list[Object]:
    """Those in rendered templates; notes are none."""
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    return [each for text in texts for each in _loaded(text)]


def kustomize(folder: pathlib.Path) -> list[Object]:
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=True)
    return _loaded(done.stdout)


def _loaded(text: str) -> list[Object]:
    """By libyaml, which takes a sixth of the time of yaml.safe_load_all()."""
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


def only(objects: list[Object], kind: str) -> Object:
    [found] = [each for each in objects if each["kind"] == kind]
    return found


def containers(daemonset: Object) -> dict[str, Object]:
    """All of them, by name, those that run before the others too."""
    spec = daemonset["spec"]["template"]["spec"]
    return {each["name"]: each for each in [*spec.get("initContainers", []), *spec["containers"]]}
