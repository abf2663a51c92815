"""A place with a host link: a node of namespaces, a pod on a veth as its VF, and the world on both networks."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import re
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from sriov.linux import netns, nftables
from tests.fakes import mock_node
from tests.kernel import namespaces, test_gc
from tests.sriov_cni import harness

PLUGINS = "/usr/lib/cni"
VF, OTHER_VF = "0000:01:10.0", "0000:01:10.2"
PATIENCE = 20.0  # seconds for what has to come
QUIET = 2.0  # seconds in which nothing comes


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
    daemon: subprocess.Popen[bytes]

    def add(self, **keys: Any) -> Any:
        answer = self.client.call("ADD", network(**keys))
        assert answer.code == 0, answer
        return answer.document

    def nft(self, commands: str) -> None:
        """What kube-proxy, or another of the node's programs, does."""
        with netns.entered(self.home):
            nftables.run(commands)

    def redirect(self, frontend: tuple[str, int], backend: tuple[str, int], protocol: str = "tcp") -> None:
        """What kube-proxy does for a Service with one backend, for packets from elsewhere and for the node's own."""
        address, port = frontend
        family = "ip6" if ":" in address else "ip"
        target = "[{}]:{}".format(*backend) if ":" in address else "{}:{}".format(*backend)
        lines = [f"add table {family} proxy"]
        for hook in ("prerouting", "output"):
            lines += [
                f"add chain {family} proxy {hook} {{ type nat hook {hook} priority -100; }}",
                f"add rule {family} proxy {hook} {family} daddr {address} {protocol} dport {port} dnat to {target}",
            ]
        self.nft("\n".join(lines))

    def dropped(self) -> int:
        """Packets that the node's table has dropped."""
        command = self.node.command("nft", "list", "table", "inet", "sriov-underlay")
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        [found] = re.findall(r"missing counter packets (\d+)", said)
        return int(found)


def network(vf: str = VF, families: tuple[Addresses, ...] = (V4, V6), **keys: object) -> dict[str, object]:
    given = [{"address": f"{each.pod}/{each.prefix}", "gateway": each.gateway} for each in families]
    ipam = {"type": "static", "addresses": given, "routes": [{"dst": each.everywhere} for each in families]}
    return harness.configuration(vf, **{"cniVersion": "1.0.0", "ipam": ipam, **keys})


@contextlib.contextmanager
def opened(tmp_path: pathlib.Path, *options: str) -> Iterator[Place]:
    """The place, with a daemon that has `options`."""
    with (
        contextlib.closing(mock_node.MockNode(tmp_path, pfs=1, vfs=2)) as node,
        test_gc.daemon(node, tmp_path, *options) as daemon,
        namespaces.made("pod") as pod,
        namespaces.made("world") as world,
        netns.open_path(f"/run/netns/{node.name}") as home,
    ):
        for each in (pod.handle, world.handle, home):
            at_once(each)
        namespaces.ip(node.name, _node_lines(world.name))
        namespaces.ip(world.name, _world_lines())
        with netns.entered(home):  # the bridges are the wire, which no rule of the node's sees
            for path in pathlib.Path("/proc/sys/net/bridge").glob("bridge-nf-call-ip*tables"):
                path.write_text("0")
            for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                (pathlib.Path("/proc/sys/net") / name).write_text("1")
        for where, link, address in (
            (home, "eth0", V6.node),
            (world.handle, "up0", V6.router),
            (world.handle, "vf0", V6.gateway),
        ):
            assert namespaces.until(functools.partial(namespaces.is_reached, where, link, [address]))
        assert namespaces.until(lambda: not any(map(_are_tentative, (node.name, world.name))))
        yield Place(node, pod, world, home, harness.Client(tmp_path / "run/cni.sock", PLUGINS, pod.path), daemon)


def _node_lines(world: str) -> Iterator[str]:
    yield f"link add eth0 type veth peer name up0 netns {world}"
    yield f"link add port0 type veth peer name vf0 netns {world}"
    yield "link add vlan0 address 02:00:00:00:76:6c type bridge"
    yield from (f"link set {each} up" for each in ("vlan0", "port0 master vlan0", "eth0", "lo"))
    for of in (V4, V6):
        yield " ".join((f"address add {of.node}/{of.prefix} dev eth0", *nodad(of)))
        yield f"route add default via {of.router}"


def _world_lines() -> Iterator[str]:
    yield from (f"link set {each} up" for each in ("up0", "vf0", "lo"))
    for of in (V4, V6):
        for address, link in ((f"{of.router}/{of.prefix}", "up0"), (f"{of.gateway}/{of.prefix}", "vf0"),
                              (of.far, "lo"), (of.elsewhere, "lo")):  # fmt: skip
            yield " ".join((f"address add {address} dev {link}", *nodad(of)))


def at_once(where: netns.Netns) -> None:
    """IPv6 addresses of links that come into the namespace are its own without the second in which the kernel asks who
    has them: that is test_addressing.py's and test_duplicates.py's."""
    with netns.entered(where):
        for name in ("dad_transmits", "router_solicitation_delay"):
            (pathlib.Path("/proc/sys/net/ipv6/conf/default") / name).write_text("0")


def _are_tentative(where: str) -> bool:
    """Whether a link there has no address of its own yet to ask for its neighbours with (net/ipv6/ndisc.c)."""
    every = (one for each in shown(where, "-6", "address") for one in each["addr_info"])
    return any(one.get("tentative") for one in every)


def is_wired(place: Place) -> bool:
    """Whether the pod's net1 sends, and the node's bridges pass on what it sends."""
    return bool(_ports(place.node.name)) and _pass_on(place.node.name) and sends(place.pod, "net1")


def sends(where: namespaces.Namespace, link: str) -> bool:
    """Whether the link sends, and bridges there pass on what they get: each waits for its carrier."""
    return _pass_on(where.name) and namespaces.is_reached(where.handle, link, ())


def _pass_on(where: str) -> bool:
    return all(state == "forwarding" for state in _ports(where))


def _ports(where: str) -> list[str]:
    """The states of all ports of bridges."""
    found = [each.get("linkinfo", {}) for each in shown(where, "-details", "link")]
    return [each["info_slave_data"]["state"] for each in found if each.get("info_slave_kind") == "bridge"]


def ip(where: str, line: str, *further: str) -> None:
    subprocess.run(["ip", "-n", where, *line.split(), *further], check=True)


def run(line: str) -> None:
    """In the caller's own namespace."""
    subprocess.run(line.split(), check=True)


def shown_here(*arguments: str) -> Any:
    done = subprocess.run(["ip", "-json", *arguments], check=True, capture_output=True)
    return json.loads(done.stdout or b"[]")


def nodad(of: Addresses) -> list[str]:
    return ["nodad"] if of is V6 else []


def shown(where: str, *arguments: str) -> Any:
    command = ["ip", "-n", where, "-json", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout or b"[]")


def socket_in(where: netns.Netns, address: str, patience: float = PATIENCE) -> socket.socket:
    with netns.entered(where):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.settimeout(patience)
    return made


def seen(
    server: netns.Netns,
    address: str,
    client: netns.Netns,
    to: tuple[str, int] | None = None,
    own: str = "",
    *,
    patience: float = PATIENCE,
) -> str:
    """Connect to a server at the address, by `to` if that is another, and exchange a word; returns the client's address
    as the server saw it. Raises OSError if there is no answer."""
    with socket_in(server, address) as listener, socket_in(client, address, patience) as caller:
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


def datagrams(where: netns.Netns, address: str, patience: float = PATIENCE) -> socket.socket:
    """A datagram socket of the address's version."""
    with netns.entered(where):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(patience)
    return made


def capture(where: netns.Netns, name: str) -> socket.socket:
    """A socket that gets every IP packet of the interface, whatever becomes of it."""
    with netns.entered(where):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))  # ETH_P_ALL
    made.bind((name, 0x0003))
    made.settimeout(PATIENCE)
    return made


def answered(
    server: netns.Netns,
    address: str,
    client: netns.Netns,
    to: tuple[str, int],
    port: int = 0,
    *,
    own: str = "",
    patience: float = PATIENCE,
) -> str:
    """Send a datagram to a server at the address, and get its answer; returns the client's address there.

    Raises OSError if there is no answer.
    """
    with datagrams(server, address, patience) as answering, datagrams(client, address, patience) as asking:
        answering.bind((address, port or to[1]))
        if own:
            asking.bind((own, 0))
        asking.connect(to)
        asking.send(b"ping")
        word, peer = answering.recvfrom(64)
        assert word == b"ping"
        answering.sendto(b"pong", peer)
        assert asking.recv(64) == b"pong"
        return str(peer[0])


def conntrack(where: netns.Netns) -> int:
    with netns.entered(where):
        return int(pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())


def loosely(where: netns.Netns, name: str) -> None:
    with netns.entered(where):
        for each in ("all", name):
            (pathlib.Path("/proc/sys/net/ipv4/conf") / each / "rp_filter").write_text("0")


def left_on(where: str) -> set[str]:
    """Links, routes of all tables, rules and neighbours. The VFs' own netdevs come and go."""
    links = {each["ifname"] for each in shown(where, "link") if each["ifname"].startswith("svl")}
    every = [each for family in ("-4", "-6") for each in shown(where, family, "route", "show", "table", "all")]
    routes = {f"{each['dst']} {each['dev']}" for each in every if each.get("dev", "").startswith("svl")}
    rules = {str(each) for family in ("-4", "-6") for each in shown(where, family, "rule")}
    neighbours = {str(each) for each in shown(where, "neigh") if each["dev"].startswith("svl")}
    return links | routes | rules | neighbours
