"""Beside kube-proxy's rules, in each of its modes: a pod with Services keeps its source address (root).

The node is on the pod's way to the backend: its rules see every packet of the pod. A pod without Services shows what
they do. IPVS, which this machine's kernel need not have, is in tests/lab/services.
"""

import contextlib
import pathlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from sriov.cluster.services import Endpoint, Frontend, Protocol, Service, TableChange
from sriov.linux import netns
from sriov_cni.dataplane import services
from tests.kernel import kube_proxy, namespaces
from tests.sriov_cni.dataplane import bpf

pytestmark = pytest.mark.root
CLUSTER_IP, NODE_PORT = ("10.96.0.10", 80), 30080
POD, NODE, BACKEND = "10.244.0.2", {"pod": "10.244.0.1", "far": "10.244.1.1"}, "10.244.1.2"
NFT = pytest.param(kube_proxy.Mode.NFTABLES, id="nftables")
IPTABLES = pytest.param(kube_proxy.Mode.IPTABLES, id="iptables")


class Place(dict[str, namespaces.Namespace]):
    """A pod, the node, and the backend's place `far`, by name; each of the node's links has an address."""

    def opened(self, where: str) -> socket.socket:
        with netns.entered(self[where].handle):
            made = socket.socket()
        made.settimeout(5)
        return made

    @contextlib.contextmanager
    def listening(self) -> Iterator[socket.socket]:
        with self.opened("far") as server:
            server.bind((BACKEND, 0))
            server.listen()
            yield server

    def source(self, to: tuple[str, int], server: socket.socket) -> str | None:
        """Connect from the pod; returns whom the server sees, None if it is not reached."""
        with self.opened("pod") as client:
            client.settimeout(1)
            server.settimeout(0.2)
            try:
                client.connect(to)
                with server.accept()[0] as accepted:
                    return str(accepted.getpeername()[0])
            except OSError:
                return None


@pytest.fixture
def place() -> Iterator[Place]:
    names = ("pod", "node", "far")
    with contextlib.ExitStack() as stack:
        made = Place({name: stack.enter_context(namespaces.made(name)) for name in names})
        for name, address in (("pod", POD), ("far", BACKEND)):
            own = made[name].name
            ip(made["node"], f"link add {name} type veth peer name net1 netns {own}")
            ip(made["node"], f"addr add {NODE[name]}/24 dev {name}", f"link set {name} up")
            ip(made[name], f"addr add {address}/24 dev net1", "link set net1 up", f"route add default via {NODE[name]}")
        subprocess.run(["ip", "netns", "exec", made["node"].name, "sysctl", "-q", "net.ipv4.ip_forward=1"], check=True)
        yield made


@pytest.fixture
def translator(tmp_path: pathlib.Path) -> Iterator[services.Translator]:
    with bpf.mounted(tmp_path / "bpf") as pins, bpf.translator(pins) as found:
        yield found
        services.remove(pins)


def ip(where: namespaces.Namespace, *orders: str) -> None:
    subprocess.run(["ip", "-n", where.name, "-batch", "-"], input="\n".join(orders).encode(), check=True)


@pytest.mark.parametrize("where", [("node",), ("pod",), ("node", "pod", "far")], ids=" and ".join)
@pytest.mark.parametrize("mode", [IPTABLES, NFT])
def test_the_source_stays_whatever_kube_proxy_would_do(
    place: Place, translator: services.Translator, mode: kube_proxy.Mode, where: tuple[str, ...]
) -> None:
    """kube-proxy has another backend, so that it shows who has translated."""
    with place.listening() as ours, place.listening() as theirs:
        for each in where:
            kube_proxy.install(mode, place[each], CLUSTER_IP, theirs.getsockname())
        lost = NODE["far"] if "pod" not in where else POD
        assert place.source(CLUSTER_IP, theirs) == lost, "without Services kube-proxy translates"
        frontends = (CLUSTER_IP, (NODE["pod"], NODE_PORT))
        backends = (Endpoint(*ours.getsockname()),)
        served = tuple(Service(Frontend(*each, Protocol.TCP), backends) for each in frontends)
        translator.apply(TableChange(served, whole=True))
        translator.admit(netns.cookie(place["pod"].handle))
        for frontend in frontends:
            assert place.source(frontend, ours) == POD
        assert place.source((BACKEND, theirs.getsockname()[1]), theirs) == POD, "what is no Service"
        translator.dismiss(translator.admitted())
        assert place.source(CLUSTER_IP, theirs) == lost, "it is nobody's pod any more"
        for each in where:
            kube_proxy.remove(mode, place[each])
        assert place.source(CLUSTER_IP, theirs) is None


def test_it_needs_no_kube_proxy(place: Place, translator: services.Translator) -> None:
    with place.listening() as ours:
        assert place.source(CLUSTER_IP, ours) is None
        backends = (Endpoint(*ours.getsockname()),)
        translator.apply(TableChange((Service(Frontend(*CLUSTER_IP, Protocol.TCP), backends),)))
        translator.admit(netns.cookie(place["pod"].handle))
        assert place.source(CLUSTER_IP, ours) == POD
