"""From a Service in the API server to a pod's connection: real agent, daemon and programs in the kernel (root).

The API server is a stand-in on a real socket. The pod is its own backend, on two ports.
"""

import asyncio
import contextlib
import pathlib
import select
import socket
import subprocess
from collections.abc import Iterator

import pytest

from sriov.linux import netns
from sriov_cni.dataplane import services, table_store
from tests.deviceplugin import loops
from tests.fakes import mock_node
from tests.kernel import namespaces, test_gc, test_pods_with_services
from tests.kernel.test_pods_with_services import ADDRESS, NETWORK, PLUGINS
from tests.sriov_agent import cluster, processes
from tests.sriov_agent.apiserver import StandIn
from tests.sriov_cni import harness

pytestmark = pytest.mark.root
places = test_pods_with_services.places
CLUSTER_IP = ("10.96.0.1", 80)


@contextlib.contextmanager
def pod_with_two_servers() -> Iterator[tuple[namespaces.Namespace, list[socket.socket]]]:
    with namespaces.made("pod") as pod, contextlib.ExitStack() as stack:
        subprocess.run(["ip", "-n", pod.name, "link", "set", "lo", "up"], check=True)
        with netns.entered(pod.handle):
            servers = [stack.enter_context(socket.create_server(("0.0.0.0", 0))) for _ in range(2)]
        for server in servers:
            server.setblocking(False)
        yield pod, servers


def served_by(pod: namespaces.Namespace, servers: list[socket.socket]) -> int | None:
    """Connect to the ClusterIP; returns which of the servers the connection came to, None if there is no way."""
    with netns.entered(pod.handle):
        client = socket.socket()
    with client:
        client.settimeout(1)
        try:
            client.connect(CLUSTER_IP)
        except OSError:
            return None
        for server in select.select(servers, [], [], 20)[0]:  # its end of the handshake may come later
            server.accept()[0].close()
            return servers.index(server)
    raise AssertionError("the connection came to nobody")


def is_kept(folder: pathlib.Path, port: int) -> bool:
    """Whether the snapshot, which is written once a second, has a backend with this port."""
    found = table_store.Snapshot(folder / "services").read()
    return found is not None and any(port == each.port for service in found.services for each in service.backends)


async def is_served_by(pod: namespaces.Namespace, servers: list[socket.socket], number: int) -> None:
    await loops.until(lambda: served_by(pod, servers) == number, 15)


def test_a_change_in_the_cluster_reaches_a_pod_and_nothing_changes_while_everybody_is_away(
    tmp_path: pathlib.Path, places: tuple[pathlib.Path, tuple[str, ...]]
) -> None:
    pins, options = places
    agent_socket = tmp_path / "agent.sock"
    options += ("--cluster-socket", str(agent_socket), "--cluster-snapshot", str(tmp_path / "services"))

    def agent(port: int) -> contextlib.AbstractAsyncContextManager[object]:
        return processes.agent(tmp_path, processes.kubeconfig(tmp_path, port))

    async def body(
        node: mock_node.MockNode, client: harness.Client, pod: namespaces.Namespace, servers: list[socket.socket]
    ) -> None:
        ports = [server.getsockname()[1] for server in servers]
        api = StandIn()
        await api.put(cluster.service(), cluster.node(("InternalIP", "192.0.2.1")))
        await api.put(cluster.endpoint_slice(cluster.endpoint(ADDRESS), port=ports[0]))
        with test_gc.daemon(node, tmp_path, *options):
            async with api.serving() as port, agent(port):
                assert served_by(pod, servers) is None, "it is nobody's pod yet"
                added = await asyncio.to_thread(client.call, "ADD", NETWORK)
                assert added.code == 0, added
                await is_served_by(pod, servers, 0)
                await api.put(cluster.endpoint_slice(cluster.endpoint(ADDRESS), port=ports[1]))
                await is_served_by(pod, servers, 1)
                await loops.until(lambda: is_kept(tmp_path, ports[1]))
            assert served_by(pod, servers) == 1, "agent and API server are away"
        assert served_by(pod, servers) == 1, "so is the daemon"
        services.remove(pins)
        # As after a reboot. The kernel ends programs in its own time.
        await loops.until(lambda: served_by(pod, servers) is None, 15)
        with test_gc.daemon(node, tmp_path, *options):
            await is_served_by(pod, servers, 1)
            assert (await asyncio.to_thread(client.call, "DEL", NETWORK)).code == 0

    made = contextlib.closing(mock_node.MockNode(tmp_path, pfs=1, vfs=1))
    with made as node, pod_with_two_servers() as (pod, servers):
        client = harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path)
        loops.run(body(node, client, pod, servers), 120)
