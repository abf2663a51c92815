"""Commands that README, docs/install.md and docs/quickstart.md have in a sentence: who runs each, or that none does."""

import contextlib
import signal
import socket
import subprocess
import urllib.request

import pytest

from tests.deploy import pages, rendering
from tests.kernel import namespaces

RUN_BY = {
    "./hack/demo --mock": ("tests/hack/test_demo.py", 'startswith("hack/demo ")'),
    "echo 8 >/sys/class/net/ens1f0/device/sriov_numvfs": ("tests/deploy/test_typed_on_a_node.py", '"echo 8 > "'),
    "hack/docs build": ("tests/test_docs_site.py", '"hack/docs"), "build"'),
    "hack/docs serve": ("tests/deploy/test_typed_in_prose.py", "def test_the_site_is_shown"),
    "podman run --network vf0": ("tests/lab/runtimes/podman.py", '"--network", network.name'),
    "sriov-underlay status": ("tests/deploy/test_typed_on_a_node.py", "sriov-underlay status"),
    "sriovctl provision --apply /etc/sriov-underlay/provision.yaml": (
        "deploy/systemd/sriov-provision.service",
        "sriovctl provision --apply",
    ),
}
"""In which file, and in which words there. tests/lab/reboots boots a node with the unit."""
NOT_TRIED = {"crictl info", "crio config"}
NAMED = {"sriovctl provision", "ip link show", "helm upgrade", "kubectl apply -k"}
"""What something is called that is typed in full elsewhere on these pages, or on the page that is named beside it."""


def test_every_command_is_run_or_said_to_be_not() -> None:
    found = {command for page in pages.TYPED for command in pages.prose(page)}
    assert found == {*RUN_BY, *NOT_TRIED, *NAMED}
    assert "Neither command of\nthe table was tried here" in pages.text("docs/install.md")


@pytest.mark.parametrize("command", RUN_BY)
def test_who_runs_it_is_there(command: str) -> None:
    file, words = RUN_BY[command]
    assert words in (rendering.ROOT / file).read_text()


def test_the_site_is_shown() -> None:
    """README, by its own words, on a port that is free."""
    [line] = [command for command in pages.prose("README.md") if command.endswith(" serve")]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*line.split(), "--port", str(port)]
    with subprocess.Popen(command, cwd=rendering.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as serving:
        try:
            assert namespaces.until(lambda: "Quick start" in shown(port), 60)
        finally:
            serving.send_signal(signal.SIGINT)
            serving.communicate()


def shown(port: int) -> str:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return str(answer.read().decode())
    return ""
