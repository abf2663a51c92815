"""docs/systemd.md, "Services" and "Network policies", under a real systemd.

The units' sandboxes let the CNI daemon load its programs and the agent reach it; the uninstaller leaves nothing in the
kernel. The API server is a stand-in on the loopback. systemd's own cgroups are not the root of the guest's, which is
mounted beside.
"""

import asyncio
import pathlib
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence

import pytest

from sriov.daemon import unix_sockets
from tests import artefacts
from tests.deviceplugin import loops
from tests.examples import pages, table
from tests.kernel import namespaces
from tests.lab.installing import nodes, test_installing
from tests.sriov_agent import apiserver, cluster, processes

BPF, CGROUP = pathlib.Path("/sys/fs/bpf"), pathlib.Path("/srv/cgroup")
PINS, STATE = BPF / "sriov-underlay", pathlib.Path("/var/lib/sriov-underlay")
OPTIONS = {
    "sriov-cni": f'SRIOV_CNI_OPTIONS="--cgroup-root {CGROUP} --http 127.0.0.1:9558 {{}}"\n',
    "sriov-agent": 'SRIOV_AGENT_OPTIONS="--http 127.0.0.1:9559 {}"\n',
}
AGENT = "sriov-agent"


def of_the_page(variable: str) -> str:
    """What people write for network policies."""
    [found] = re.findall(rf'^{variable}="(--polic.*)"$', pages.text("docs/systemd.md"), re.MULTILINE)
    return str(found)


@pytest.fixture
def folders() -> Iterator[None]:
    """What a node has that systemd boots; ours go again."""
    mounted = BPF.is_mount()
    CGROUP.mkdir()
    if not mounted:
        subprocess.run(["mount", "-t", "bpf", "bpf", BPF], check=True)
    subprocess.run(["mount", "--bind", "/sys/fs/cgroup", CGROUP], check=True)
    for name, text in OPTIONS.items():
        variable = text.partition("=")[0]
        pathlib.Path("/etc/default", name).write_text(text.format(of_the_page(variable)))
    yield
    subprocess.run(["userdel", "sriov-agent"], check=True)
    for name in OPTIONS:
        pathlib.Path("/etc/default", name).unlink()
    subprocess.run(["umount", CGROUP], check=True)
    CGROUP.rmdir()
    if not mounted:
        subprocess.run(["umount", BPF], check=True)
    shutil.rmtree("/etc/sriov-underlay", ignore_errors=True)


def test_services_by_the_page(folders: None, without_vfs: nodes.Node, tmp_path: pathlib.Path) -> None:  # noqa: ARG001
    examples = table.run_by(__file__, "test_services_by_the_page")

    async def body() -> None:
        api = apiserver.StandIn()
        await api.put(cluster.service(), cluster.endpoint_slice(cluster.endpoint()))
        await api.put(cluster.node(("InternalIP", "192.0.2.1"), name=socket.gethostname()))
        async with api.serving() as port:
            processes.kubeconfig(tmp_path, port)
            (tmp_path / "kubeconfig").rename(tmp_path / "agent.kubeconfig")
            await asyncio.to_thread(come_and_go, without_vfs, tmp_path, examples)

    loops.run(body(), timeout=300)


def come_and_go(node: nodes.Node, folder: pathlib.Path, examples: Sequence[pages.Example]) -> None:
    before = nodes.listing()
    *setting_up, looking = examples
    for example in setting_up:
        types(node, folder, example.command)
    daemon = node.awaited(artefacts.VERSION, test_installing.CNI_DAEMON)
    test_installing.assert_from_the_wheel(daemon, test_installing.CNI_CAPABILITIES)
    agent = node.awaited(artefacts.VERSION, AGENT)
    test_installing.assert_from_the_wheel(agent, 0)
    users = [line.split()[1:] for line in (agent / "status").read_text().splitlines() if line.startswith("Uid")]
    assert users == [[str(unix_sockets.AGENT_UID)] * 4]
    assert_at_work(node)
    assert "active (running)" in types(node, folder, looking.command)
    types(node, folder, "systemctl restart sriov-cni.service")
    assert_at_work(node)
    node.succeeds(artefacts.VERSION, "uninstall")
    assert (PINS.exists(), STATE.exists(), pathlib.Path("/run/sriov-cluster").exists()) == (False, False, False)
    left = {path: facts for path, facts in nodes.listing().items() if path != "/etc/sriov-underlay/agent.kubeconfig"}
    assert left.keys() - before.keys() - nodes.device_info([]) <= {"/etc/sriov-underlay"}


def assert_at_work(node: nodes.Node) -> None:
    """The kernel runs the programs, says the daemon; the daemon has both tables, says the agent."""
    assert namespaces.until(lambda: (ready(9558), ready(9559)) == ("ok\n", "ok\n"), 60), node.systemd.journal()
    for name in ("services", "policies"):
        assert namespaces.until((STATE / name).exists), node.systemd.journal()
    assert {"connect4", "services"} <= {path.name for path in (PINS / "services-1").iterdir()}


def ready(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError as error:
        return str(error)


def types(node: nodes.Node, folder: pathlib.Path, line: str) -> str:
    programs = artefacts.INSTALLED / artefacts.VERSION / "bin"
    line = line.replace("/opt/sriov-underlay/bin", str(programs))
    done = node.systemd.run("sh", "-c", f"cd {folder}; export TERM=dumb; {line}")
    assert done.returncode == 0, (line, done.stdout, done.stderr, node.systemd.journal())
    return done.stdout
