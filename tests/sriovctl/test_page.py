"""docs/sriovctl.md: each example is what the program prints on a node, and its tables are complete."""

import contextlib
import json
import pathlib
import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from sriov.cluster import policies
from sriovctl import app, exit_codes
from sriovctl.checks import findings
from sriovctl.node import attachments
from tests.deploy import rendering
from tests.examples import table
from tests.sriovctl import nodes
from tests.sriovctl.commands import test_attachments, test_doctor, test_inventory

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs/sriovctl.md").read_text()
NOBODY = "127.0.0.1:9"  # discard, where nobody listens
EXAMPLES = [
    (command, "".join(f"{line}\n" for line in rest))
    for command, *rest in (block.strip().splitlines() for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL))
    if command.startswith("# ")
]
"""What root types on the node; the others are for somebody at a cluster (tests/deploy)."""


def normal(text: str, folder: pathlib.Path) -> str:
    """Paths as they are on a node; times that are each time others."""
    for here, there in (
        ("run", "/run/sriov"),
        ("config.json", "/etc/pcidp/config.json"),
        ("kubelet", "/var/lib/kubelet"),
        ("bin", "/opt/cni/bin"),
        ("net.d", "/etc/cni/net.d"),
        ("ns-pod", "/run/netns/web"),
    ):
        text = text.replace(f"{folder}/{here}", there)
    text = re.sub(r"\b[0-9a-f]{32}\b", "1c6f0e9a5d3b47a28e0f6c1d92b7a354", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-03-01T03:00:00Z", text)
    return "\n".join(line.rstrip() for line in re.sub(r"in [\d.]+ ms", "in 14.2 ms", text).splitlines()) + "\n"


def web_policies() -> policies.PolicyTable:
    """Pod web takes TCP 80 of two peers."""
    peers = frozenset(map(policies.packed, ("10.1.0.9", "10.1.0.12")))
    opening = policies.Opening(("0123456789abcdef",), ports=(policies.PortSpan(policies.Transport.TCP, 80, 80),))
    grants = {"front": policies.Grant("default/from-front", (opening,)), "none": policies.Grant("default/quiet")}
    rules = {("default", "web", ""): policies.Rules(("front", "none"))}
    return policies.PolicyTable({"0123456789abcdef": peers}, grants, rules)


@contextlib.contextmanager
def telling(node: nodes.Node) -> Iterator[None]:
    """Pod web has a VF with VLAN 100, and policies; VF 6 has no driver; a pod `late` was refused its VLAN."""
    node.put_policies(web_policies())
    sick = test_doctor.Sick(node)
    node.bench.machine.unbind(node.bench.vfs[6])
    node.give("web", node.vf)
    node.give("late", node.bench.vfs[1])
    with node.serving(), node.kubelet():
        assert node.cni("ADD", vlan=100, policy="kubernetes").code == 0
        assert node.cni("ADD", pod="late", deviceID=node.bench.vfs[1], vlan=5000).code == 7
        yield
    sick.close()


@contextlib.contextmanager
def told(folder: pathlib.Path) -> Iterator[nodes.Node]:
    node = nodes.Node(folder)
    with telling(node):
        yield node
    node.close()


def story(node: nodes.Node, command: str) -> nodes.Ran:
    with telling(node):
        return node.run(*command.split()[2:])


def prints(node: nodes.Node, command: str) -> str:
    ran = story(node, command)
    return normal(ran.out + ran.err, node.folder)


@pytest.mark.parametrize(("command", "printed"), EXAMPLES, ids=lambda text: text.split("\n")[0][:40])
def test_an_example_is_what_is_printed(node: nodes.Node, command: str, printed: str) -> None:
    assert prints(node, command) == printed


def test_a_pod_as_kubectl_prints_it(node: nodes.Node, tmp_path: pathlib.Path) -> None:
    """Both ends of the page's pipe, each for itself: kubectl has nobody to ask here, and knows its words."""
    [example] = table.run_by(__file__, "test_a_pod_as_kubectl_prints_it")
    asking, explaining = (shlex.split(each.replace("POD", "web")) for each in example.command.split(" | "))
    kubectl = [str(rendering.KUBECTL), f"--server=http://{NOBODY}", *asking[1:]]
    environment = {"HOME": str(tmp_path), "KUBECONFIG": "/dev/null"}
    asked = subprocess.run(kubectl, env=environment, capture_output=True, text=True, check=False)
    assert "connection refused" in asked.stderr
    pod = {
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [{"resources": {"limits": {nodes.RAIL: "1"}}}]},
    }
    ran = node.run(*explaining[1:], answers=json.dumps(pod))
    assert re.search(rf"does the pod request a resource\? +yes +.*{nodes.RAIL}", ran.out), ran


def test_there_are_examples_of_every_command() -> None:
    shown = {command.split()[2] for command, _ in EXAMPLES}
    assert shown >= set(app.program.commands) - {"provision", "schema", "version"}


def listed(heading: str) -> list[str]:
    """The first column of the table below a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `?([^`|]+?)`? \|", section, re.MULTILINE)[1:]


def test_every_finding_severity_and_remedy_is_on_the_page() -> None:
    assert [each for each in listed("What doctor finds") if each != "finding"] == [kind.title for kind in findings.Kind]
    for kind in findings.Kind:
        assert f"| `{kind.title}` | {kind.severity.value} |" in PAGE


def test_every_exit_status_is_on_the_page() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert {int(number): text for number, text in rows} == {
        int(each): text for each, text in exit_codes.MEANING.items()
    }


def test_every_key_of_the_documents_is_on_the_page() -> None:
    keys = test_inventory.KEYS | test_inventory.OWNER_KEYS | test_attachments.KEYS | test_doctor.KEYS
    assert [key for key in sorted(keys) if f"`{key}`" not in PAGE] == []


def test_every_state_is_on_the_page() -> None:
    assert [state.value for state in attachments.State if f"`{state.value}`" not in PAGE] == []
