"""Every kind of address that a Service has, by TCP and UDP, IPv4 and IPv6, from the API server to packets (root).

The pod is on its VF alone. The backend is beyond the VF's wire, and must see the pod's own address.
"""

import asyncio
import contextlib
import itertools
import pathlib
import socket
import time

import pytest

from sriov.linux import netns
from tests.deviceplugin import loops
from tests.kernel import linked, test_pods_with_services
from tests.sriov_agent import cluster, processes
from tests.sriov_agent.apiserver import StandIn
from tests.sriov_agent.cluster import Json

pytestmark = pytest.mark.root
places = test_pods_with_services.places
V4, V6 = linked.V4, linked.V6
TCP, UDP = 8080, 5353  # of the backend
WEB: Json = {
    "type": "LoadBalancer",
    "clusterIP": "10.96.0.1",
    "clusterIPs": ["10.96.0.1", "fd96::1"],
    "externalIPs": ["203.0.113.7", "2001:db8:77::7"],
    "ports": [
        {"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30080},
        {"name": "udp", "port": 53, "protocol": "UDP", "nodePort": 30053},
    ],
    "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.8"}, {"ip": "2001:db8:77::8"}]}},
}
KINDS = {
    "ClusterIP": ("10.96.0.1", "fd96::1"),
    "externalIP": ("203.0.113.7", "2001:db8:77::7"),
    "load balancer": ("203.0.113.8", "2001:db8:77::8"),
    "NodePort": (V4.node, V6.node),
}
NOBODY = ("10.96.0.9", "fd96::9")


def objects() -> list[Json]:
    ports = [{"name": "tcp", "protocol": "TCP", "port": TCP}, {"name": "udp", "protocol": "UDP", "port": UDP}]
    slices = [
        cluster.endpoint_slice(cluster.endpoint(of.gateway), name=f"web-{name}", addressType=name, ports=ports)
        for name, of in (("IPv4", V4), ("IPv6", V6))
    ]
    node = cluster.node(("InternalIP", V4.node), ("InternalIP", V6.node))
    nobody = cluster.service("nobody", clusterIP=NOBODY[0], clusterIPs=[*NOBODY])
    headless = cluster.service("headless", clusterIP="None", labels={"service.kubernetes.io/headless": ""})
    return [node, *slices, cluster.service(**WEB), nobody, headless]


def tried(place: linked.Place, of: linked.Addresses, to: tuple[str, int], protocol: str) -> tuple[str, str]:
    """Have the pod send to the address; returns its address as the backend saw it, and the peer's as the pod saw it."""
    if protocol == "UDP":
        ends = (linked.datagrams(place.world.handle, of.gateway), linked.datagrams(place.pod.handle, of.pod))
        with ends[0] as server, ends[1] as client:
            server.bind((of.gateway, UDP))
            client.sendto(b"ping", to)
            _, peer = server.recvfrom(64)
            server.sendto(b"pong", peer)
            return str(peer[0]), str(client.recvfrom(64)[1][0])
    ends = (linked.socket_in(place.world.handle, of.gateway), linked.socket_in(place.pod.handle, of.pod))
    with ends[0] as server, ends[1] as client:
        server.bind((of.gateway, TCP))
        server.listen()
        client.connect(to)
        accepted, peer = server.accept()
        accepted.close()
        return str(peer[0]), str(client.getpeername()[0])


def refused_after(place: linked.Place, address: str) -> float:
    """Seconds until a connection to it is refused."""
    began = time.monotonic()
    with linked.socket_in(place.pod.handle, address) as client, pytest.raises(ConnectionRefusedError):
        client.connect((address, 80))
    return time.monotonic() - began


def knows(place: linked.Place) -> bool:
    with netns.entered(place.pod.handle):
        made = socket.socket()
    made.settimeout(0.2)
    with made:
        try:
            made.connect((NOBODY[0], 80))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def test_every_kind_of_service_with_the_pods_own_address(
    tmp_path: pathlib.Path, places: tuple[pathlib.Path, tuple[str, ...]]
) -> None:
    agent_socket = tmp_path / "agent.sock"
    options = (*places[1], "--cluster-socket", str(agent_socket), "--cluster-snapshot", str(tmp_path / "services"))

    async def body(place: linked.Place) -> None:
        api = StandIn()
        await api.put(*objects())
        async with api.serving() as port, processes.agent(tmp_path, processes.kubeconfig(tmp_path, port)):
            await asyncio.to_thread(place.add, services="socket")
            await loops.until(lambda: knows(place), 20)
            for (kind, addresses), protocol in itertools.product(KINDS.items(), ("TCP", "UDP")):
                for of, address in zip((V4, V6), addresses, strict=True):
                    number = {"TCP": (80, 30080), "UDP": (53, 30053)}[protocol][kind == "NodePort"]
                    seen = await asyncio.to_thread(tried, place, of, (address, number), protocol)
                    assert seen == (of.pod, address), (kind, protocol)
            for of, address in zip((V4, V6), NOBODY, strict=True):
                assert await asyncio.to_thread(refused_after, place, address) < 0.5
                direct = await asyncio.to_thread(tried, place, of, (of.gateway, TCP), "TCP")
                assert direct == (of.pod, of.gateway), "a headless Service's pod is asked for by its own address"

    with contextlib.ExitStack() as stack:
        place = stack.enter_context(linked.opened(tmp_path, *options))
        loops.run(body(place), 120)
        assert linked.conntrack(place.pod.handle) == 0
