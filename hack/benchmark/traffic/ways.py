"""The three ways between two nodes that are namespaces, each with VFs of two cards, which one wire connects.

A pod's VF is attached by the daemon, as for a runtime. The uplink of a node is a VF too, so that all ways use the same
kind of card and driver: the routed veth and the bridge with VXLAN differ from the pod's VF by nothing but what the
node does.
"""

import contextlib
import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Iterator, Sequence

from hack.benchmark.stages import igbs, stage
from hack.guest import errors
from sriov.hardware import sysfs
from sriov.linux import netns
from tests.sriov_cni import harness

NAMES = {"vf": "a pod's VF", "routed": "routed veth", "vxlan": "veth, bridge, VXLAN"}
ENDS = (0, 1)
"""The sending end and the receiving one: each has a node, a card, and a processor of that number."""
_OVERLAY_MTU = 1450  # VXLAN's headers take 50 bytes of a frame of 1500
_PURPOSES = tuple(f"{way}{end}" for way in ("routed", "vxlan") for end in ENDS)


@dataclasses.dataclass(frozen=True, slots=True)
class Uplink:
    """VF whose frames go over the wire, as net1 in a namespace."""

    namespace: netns.Netns

    def counted(self) -> tuple[int, int]:
        """Return the bytes that it has received and sent (proc(5), net/dev)."""
        with netns.entered(self.namespace):
            lines = pathlib.Path("/proc/thread-self/net/dev").read_text().splitlines()
        [columns] = [line.partition(":")[2].split() for line in lines if line.strip().startswith("net1:")]
        return int(columns[0]), int(columns[8])


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """Namespaces of both pods, the receiver's address, and the uplinks by which everything between them goes."""

    key: str
    pods: tuple[netns.Netns, netns.Netns]
    address: str
    uplinks: tuple[Uplink, Uplink]


@contextlib.contextmanager
def opened(tree: sysfs.Tree) -> Iterator[list[Way]]:
    """Set up all three until the context ends. Raises LabError without two cards that have VFs of igbvf."""
    with contextlib.ExitStack() as stack:
        where = stack.enter_context(igbs.opened(tree, part="traffic"))
        made = dict(zip(_PURPOSES, stack.enter_context(stage.namespaces(_PURPOSES)), strict=True))
        opened_pods = {key: stack.enter_context(netns.open_path(stage.path(name))) for key, name in made.items()}
        both = cards(where.links)
        pods, nodes = ([links[place] for links in both] for place in (0, 1))
        for place, links in enumerate((pods, nodes)):
            for end in ENDS:
                stack.enter_context(_attached(where, links[end], f"198.18.{place}.{end + 1}/24"))
                _bind(links[end].pci, end)
        uplinks = tuple(Uplink(link.pod) for link in nodes)
        for end in ENDS:
            _route(_name(nodes[end]), made[f"routed{end}"], end)
            _overlay(_name(nodes[end]), made[f"vxlan{end}"], end)
        yield [
            _way("vf", [link.pod for link in pods], "198.18.0.2", [Uplink(link.pod) for link in pods]),
            _way("routed", [opened_pods[f"routed{end}"] for end in ENDS], "198.18.11.2", uplinks),
            _way("vxlan", [opened_pods[f"vxlan{end}"] for end in ENDS], "198.18.20.2", uplinks),
        ]


def _way(key: str, pods: Sequence[netns.Netns], address: str, uplinks: Sequence[Uplink]) -> Way:
    return Way(key, (pods[0], pods[1]), address, (uplinks[0], uplinks[1]))


def cards(links: Sequence[stage.Link]) -> list[list[stage.Link]]:
    """Return the VFs of two cards, at least two of each. Raises LabError."""
    found = [[each for each in links if each.pf == pf] for pf in sorted({link.pf for link in links if link.pf})]
    able = [each for each in found if len(each) >= len(ENDS)]
    if len(able) < len(ENDS):
        raise errors.LabError("two cards with two VFs each are needed: hack/lab run -- hack/bench traffic")
    return able[:2]


@contextlib.contextmanager
def _attached(where: stage.Stage, link: stage.Link, address: str) -> Iterator[None]:
    """Give the VF to its namespace as net1, with that address."""
    stdin = json.dumps(harness.configuration(link.pci, cniVersion="1.0.0", ipam={"type": "static"})).encode()
    leased = json.dumps({"cniVersion": "1.0.0", "ips": [{"address": address}]})
    env = {"CONTAINERID": f"bench-{link.name}", "NETNS": link.pod_path, "IFNAME": "net1", "PATH": "/"}
    harness.call_without_a_process(where.daemon.socket, stdin, leased=leased, COMMAND="ADD", **env)
    try:
        yield
    finally:
        harness.call_without_a_process(where.daemon.socket, stdin, leased=leased, COMMAND="DEL", **env)


def _bind(pci: str, processor: int) -> None:
    """Let one processor serve the VF's interrupts, so that an end's work is that processor's."""
    for each in pathlib.Path(f"/sys/bus/pci/devices/{pci}/msi_irqs").iterdir():
        pathlib.Path(f"/proc/irq/{each.name}/smp_affinity_list").write_text(str(processor))


def _route(node: str, pod: str, end: int) -> None:
    """A pod whose node forwards its packets as they are; the other node's pods are a route by its uplink."""
    network, other = f"198.18.{10 + end}", f"198.18.{10 + 1 - end}"
    _batch(node, f"link add routed type veth peer name eth0 netns {pod}", f"address add {network}.1/24 dev routed")
    _batch(node, "link set routed up", f"route add {other}.0/24 via 198.18.1.{2 - end}")
    _batch(pod, f"address add {network}.2/24 dev eth0", "link set eth0 up", f"route add default via {network}.1")
    subprocess.run(["ip", "netns", "exec", node, "sysctl", "-q", "net.ipv4.ip_forward=1"], check=True)


def _overlay(node: str, pod: str, end: int) -> None:
    """A pod on a bridge of its node, whose frames VXLAN wraps for the other node, as on a card that does nothing for
    tunnels: the node's kernel computes their checksums and cuts long data into packets.
    """
    mtu = f"mtu {_OVERLAY_MTU}"
    far = f"remote 198.18.1.{2 - end} local 198.18.1.{end + 1}"
    _batch(
        node,
        f"link add br0 {mtu} type bridge",
        f"link add wrapped {mtu} type vxlan id 7 dstport 4789 dev net1 {far}",
        f"link add pod {mtu} type veth peer name eth0 {mtu} netns {pod}",
        *(f"link set {port} master br0" for port in ("wrapped", "pod")),
        *(f"link set {each} up" for each in ("wrapped", "pod", "br0")),
    )
    # QEMU's igb leaves the checksum inside of a wrapped packet empty, which the driver asks it to fill in.
    subprocess.run(
        ["ip", "netns", "exec", node, "ethtool", "-K", "wrapped", "tx", "off"], check=True, stdout=subprocess.DEVNULL
    )
    _batch(pod, f"address add 198.18.20.{end + 1}/24 dev eth0", "link set eth0 up")


def _name(link: stage.Link) -> str:
    return pathlib.Path(link.pod_path).name


def _batch(namespace: str, *orders: str) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(orders).encode(), check=True)
