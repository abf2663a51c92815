"""The host link with real packets: a node of namespaces, a pod on a veth as its VF, and the world on both networks."""

import contextlib
import dataclasses
import http.client
import http.server
import json
import pathlib
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from sriov.linux import netns, nftables
from tests.fakes import mock_node
from tests.kernel import namespaces, test_gc
from tests.sriov_cni import harness

pytestmark = pytest.mark.root
PLUGINS = "/usr/lib/cni"
VF, OTHER_VF = "0000:01:10.0", "0000:01:10.2"
PATIENCE = 2.0  # seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Addresses:
    """Who has which address in one IP version. `far` and `elsewhere` are the world's, beyond the node."""

    pod: str
    prefix: int
    gateway: str
    node: str
    router: str
    far: str
    far_network: str
    elsewhere: str
    everywhere: str


V4 = Addresses(
    "10.1.0.5", 24, "10.1.0.1", "192.0.2.10", "192.0.2.1", "198.51.100.1", "198.51.100.0/24", "203.0.113.1", "0.0.0.0/0"
)
V6 = Addresses(
    "2001:db8:1::5", 64, "2001:db8:1::1", "2001:db8:2::10", "2001:db8:2::1",
    "2001:db8:51::1", "2001:db8:51::/48", "2001:db8:52::1", "::/0",
)  # fmt: skip
BOTH = pytest.mark.parametrize("of", [V4, V6], ids=["IPv4", "IPv6"])


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A node with a daemon, an empty pod, and the world: a host with the node's and the VFs' network, no router."""

    node: mock_node.MockNode
    pod: namespaces.Namespace
    world: namespaces.Namespace
    home: netns.Netns
    client: harness.Client

    def add(self, **keys: Any) -> Any:
        answer = self.client.call("ADD", network(**keys))
        assert answer.code == 0, answer
        return answer.document

    def nft(self, commands: str) -> None:
        """What kube-proxy, or another of the node's programs, does."""
        with netns.entered(self.home):
            nftables.run(commands)


def network(vf: str = VF, families: tuple[Addresses, ...] = (V4, V6), **keys: object) -> dict[str, object]:
    given = [{"address": f"{each.pod}/{each.prefix}", "gateway": each.gateway} for each in families]
    ipam = {"type": "static", "addresses": given, "routes": [{"dst": each.everywhere} for each in families]}
    return harness.configuration(vf, **{"cniVersion": "1.0.0", "ipam": ipam, **keys})


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[Place]:
    with (
        test_gc.node(tmp_path) as node,
        namespaces.made("pod") as pod,
        namespaces.made("world") as world,
        netns.open_path(f"/run/netns/{node.name}") as home,
    ):
        _ip(node.name, "link add eth0 type veth peer name up0 netns", world.name)
        _ip(node.name, "link add port0 type veth peer name vf0 netns", world.name)
        _ip(node.name, "link add vlan0 type bridge")
        for line in ("link set vlan0 up", "link set port0 master vlan0 up", "link set eth0 up", "link set lo up"):
            _ip(node.name, line)
        for line in ("link set up0 up", "link set vf0 up", "link set lo up"):
            _ip(world.name, line)
        for of in (V4, V6):
            _ip(node.name, f"address add {of.node}/{of.prefix} dev eth0", *_nodad(of))
            _ip(node.name, f"route add default via {of.router}")
            for address, link in ((of.router, "up0"), (of.gateway, "vf0")):
                _ip(world.name, f"address add {address}/{of.prefix} dev {link}", *_nodad(of))
            for address in (of.far, of.elsewhere):
                _ip(world.name, f"address add {address} dev lo", *_nodad(of))
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            subprocess.run(node.command("sysctl", "-qw", f"{name}=1"), check=True)
        yield Place(node, pod, world, home, harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path))


def _ip(where: str, line: str, *further: str) -> None:
    subprocess.run(["ip", "-n", where, *line.split(), *further], check=True)


def _nodad(of: Addresses) -> list[str]:
    return ["nodad"] if of is V6 else []


def shown(where: str, *arguments: str) -> Any:
    command = ["ip", "-n", where, "-json", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout or b"[]")


def _socket(where: netns.Netns, address: str) -> socket.socket:
    with netns.entered(where):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.settimeout(PATIENCE)
    return made


def seen(
    server: netns.Netns, address: str, client: netns.Netns, to: tuple[str, int] | None = None, own: str = ""
) -> str:
    """Connect to a server at the address, by `to` if that is another, and exchange a word; returns the client's address
    as the server saw it. Raises OSError if there is no answer."""
    with _socket(server, address) as listener, _socket(client, address) as caller:
        listener.bind((address, 8080))
        listener.listen()
        if own:
            caller.bind((own, 0))
        caller.connect(to or (address, 8080))
        answering, peer = listener.accept()
        with answering:
            caller.sendall(b"ping")
            assert answering.recv(4) == b"ping"
            answering.sendall(b"pong")
            assert caller.recv(4) == b"pong"
        return str(peer[0])


@BOTH
def test_node_and_pod_reach_each_other_by_their_own_addresses(place: Place, of: Addresses) -> None:
    place.add(hostLink=True)
    assert seen(place.pod.handle, of.pod, place.home) == of.node
    assert seen(place.home, of.node, place.pod.handle) == of.pod
    assert seen(place.world.handle, of.gateway, place.pod.handle) == of.pod, "by the VF"


@BOTH
def test_without_it_they_do_not(place: Place, of: Addresses) -> None:
    """The world routes nothing: what the other tests see comes by the host link."""
    place.add()
    with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
        seen(place.pod.handle, of.pod, place.home)
    with pytest.raises(OSError, match=r"timed out|unreachable|No route|refused"):
        seen(place.world.handle, of.far, place.pod.handle, own=of.pod, to=(of.node, 8080))


@BOTH
def test_what_is_beyond_the_node_is_masqueraded_and_nothing_else(place: Place, of: Addresses) -> None:
    place.add(hostLink=True, viaHost=[of.far_network])
    assert seen(place.world.handle, of.far, place.pod.handle) == of.node
    assert seen(place.home, of.node, place.pod.handle) == of.pod, "the node itself sees the pod"
    assert seen(place.world.handle, of.elsewhere, place.pod.handle) == of.pod, "by the VF"
    assert seen(place.world.handle, of.far, place.home, own=of.node) == of.node
    # Root in the pod sends by the host what no network names: it goes on with the pod's own address.
    _loosely(place.pod.handle, "net1")
    hop = {V4: "169.254.1.1", V6: "fe80::1"}[of]
    _ip(place.pod.name, f"route add {of.elsewhere} via {hop} dev host0 onlink")
    assert seen(place.world.handle, of.elsewhere, place.pod.handle) == of.pod


@BOTH
@pytest.mark.parametrize("strict", ["1", "2"], ids=["strict", "loose"])
def test_what_comes_in_by_the_host_goes_back_by_the_host(place: Place, of: Addresses, strict: str) -> None:
    """As kube-proxy does for a NodePort with externalTrafficPolicy Local: a foreign client's own address is kept."""
    place.add(hostLink=True)
    with netns.entered(place.pod.handle):
        for name in ("all", "host0", "net1"):
            (pathlib.Path("/proc/sys/net/ipv4/conf") / name / "rp_filter").write_text(strict)
    family, target = ("ip", f"{of.pod}:8080") if of is V4 else ("ip6", f"[{of.pod}]:8080")
    place.nft(
        f"add table {family} proxy\n"
        f"add chain {family} proxy prerouting {{ type nat hook prerouting priority dstnat; }}\n"
        f"add rule {family} proxy prerouting {family} daddr {of.node} tcp dport 30080 dnat to {target}"
    )
    assert seen(place.pod.handle, of.pod, place.world.handle, to=(of.node, 30080), own=of.far) == of.far
    assert seen(place.pod.handle, of.pod, place.world.handle) == of.gateway, "what comes in by the VF goes back by it"
    assert conntrack(place.pod.handle) == 0
    with pytest.raises(ConnectionRefusedError):
        _refused(place, of)


def _refused(place: Place, of: Addresses) -> None:
    """Connect to a port of the pod where nobody listens: the refusal goes back by the host, too."""
    with _socket(place.world.handle, of.far) as caller:
        caller.bind((of.far, 0))
        caller.connect((of.node, 30080))


def conntrack(where: netns.Netns) -> int:
    with netns.entered(where):
        return int(pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())


def _loosely(where: netns.Netns, name: str) -> None:
    with netns.entered(where):
        for each in ("all", name):
            (pathlib.Path("/proc/sys/net/ipv4/conf") / each / "rp_filter").write_text("0")


@BOTH
def test_the_kubelets_probes_reach_the_pod(place: Place, of: Addresses) -> None:
    """HTTP and TCP, as the kubelet makes them: from the node's namespace, to the pod's address."""
    place.add(hostLink=True)
    answered: list[str] = []

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answered.append(self.client_address[0])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with _socket(place.pod.handle, of.pod) as listener, _socket(place.home, of.node) as prober:
        listener.bind((of.pod, 8080))
        listener.listen()
        prober.connect((of.pod, 8080))  # all that a TCP probe does
        server = http.server.HTTPServer((of.pod, 8080), Healthy, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        with contextlib.closing(http.client.HTTPConnection(of.pod, 8080)) as asking:
            listener.accept()[0].close()
            asking.sock = _socket(place.home, of.node)
            asking.sock.connect((of.pod, 8080))
            asking.request("GET", "/healthz")
            server.handle_request()
            assert asking.getresponse().status == 200
    assert answered == [of.node]


def test_the_result_names_the_vf_first_and_both_ends(place: Place) -> None:
    document = place.add(hostLink="up-host")
    vf, here, there = document["interfaces"]
    assert (vf["name"], there["name"], there["sandbox"]) == ("net1", "up-host", place.pod.path)
    assert "sandbox" not in here
    for end, where in ((here, place.node.name), (there, place.pod.name)):
        [link] = shown(where, "link", "show", end["name"])
        assert (link["address"], link["operstate"]) == (end["mac"], "UP")
        assert shown(where, "address", "show", "dev", end["name"])[0]["addr_info"] == [], "no address of its own"
    assert [each["interface"] for each in document["ips"]] == [0, 0]


def test_nobody_asks_for_a_mac_and_no_forged_source_gets_in(place: Place) -> None:
    document = place.add(hostLink=True)
    name = document["interfaces"][1]["name"]
    for where, link in ((place.pod.name, "host0"), (place.node.name, name)):
        states = [each["state"] for each in shown(where, "neigh", "show", "dev", link)]
        assert states == [["PERMANENT"], ["PERMANENT"]]
    _loosely(place.pod.handle, "net1")
    for of, forged in ((V4, "10.66.0.1"), (V6, "2001:db8:66::1")):
        _ip(place.pod.name, f"address add {forged} dev lo", *_nodad(of))
        _ip(place.node.name, f"route add {forged} via {of.router}")
        with pytest.raises(TimeoutError):
            seen(place.home, of.node, place.pod.handle, own=forged)


def test_check_sees_the_link_and_its_routes(place: Place) -> None:
    document = place.add(hostLink=True, viaHost=[V4.far_network])
    checked = network(hostLink=True, viaHost=[V4.far_network], prevResult=document, ipam=None)
    assert place.client.call("CHECK", checked).code == 0
    name = document["interfaces"][1]["name"]
    for where, harm, named in (
        (place.node.name, f"route del {V4.pod} dev {name}", f"{name} has lost its route to {V4.pod}/32"),
        (place.pod.name, f"route del {V4.far_network} dev host0", f"host0 has lost its route to {V4.far_network}"),
        (place.pod.name, "link set host0 down", "host0 in the pod is down"),
        (place.pod.name, "link del host0", f"{name} is not in the node"),
    ):
        _ip(where, harm)
        answer = place.client.call("CHECK", checked)
        assert (answer.code, named in answer.message) == (101, True), answer
    assert place.client.call("DEL", network()).code == 0, "the pod has hurt itself alone"


def test_del_leaves_nothing_and_so_does_a_namespace_that_dies(place: Place) -> None:
    before = left_on(place.node.name)
    place.add(hostLink=True, viaHost=[V4.far_network, V6.far_network])
    assert left_on(place.node.name) != before
    assert place.client.call("DEL", network(hostLink=True)).code == 0
    assert left_on(place.node.name) == before
    with namespaces.made("mortal") as pod:
        there = dataclasses.replace(place.client, netns=pod.path)
        answer = there.call("ADD", network(OTHER_VF, hostLink=True), CONTAINERID="c2")
        assert answer.code == 0, answer
    assert namespaces.until(lambda: not left_on(place.node.name) - before), left_on(place.node.name) - before


def left_on(where: str) -> set[str]:
    """Links, routes of all tables, rules and neighbours. The VFs' own netdevs come and go."""
    links = {each["ifname"] for each in shown(where, "link") if each["ifname"].startswith("svl")}
    every = [each for family in ("-4", "-6") for each in shown(where, family, "route", "show", "table", "all")]
    routes = {f"{each['dst']} {each['dev']}" for each in every if each.get("dev", "").startswith("svl")}
    rules = {str(each) for family in ("-4", "-6") for each in shown(where, family, "rule")}
    neighbours = {str(each) for each in shown(where, "neigh") if each["dev"].startswith("svl")}
    return links | routes | rules | neighbours


def test_50_pods_that_come_and_go_leave_nothing(place: Place) -> None:
    before = left_on(place.node.name)
    for number in range(50):
        who = {"CONTAINERID": f"pod{number}"}
        keys: dict[str, Any] = {"hostLink": True, "viaHost": [V4.far_network]}
        answer = place.client.call("ADD", network(families=(V4,), **keys), **who)
        assert answer.code == 0, answer
        assert place.client.call("DEL", network(families=(V4,), **keys), **who).code == 0
        assert shown(place.pod.name, "link", "show", "type", "veth") == []
        with netns.entered(place.pod.handle):
            nftables.run("delete table inet sriov-underlay")  # a pod's goes with its namespace
    assert left_on(place.node.name) == before
