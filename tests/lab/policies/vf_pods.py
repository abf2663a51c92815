"""A node on the guest's VFs: the daemon as on any node, a stand-in for its agent, and pods whose network is a VF."""

import contextlib
import dataclasses
import json
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from sriov.cluster import policies, policy_changes, policy_frames
from sriov.cluster.policies import Grant, Opening, PortSpan, Rules, Transport
from sriov.linux import netns
from tests.kernel import linked, namespaces
from tests.lab import igb
from tests.sriov_cni import harness

PROJECT = pathlib.Path(__file__).parents[3]
VFS = {"a": 3, "b": 4, "c": 5}
WEB = (PortSpan(Transport.TCP, 8080, 8080),)


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    name: str
    namespace: namespaces.Namespace

    @property
    def number(self) -> int:
        return VFS[self.name]


class Node:
    """`folder` holds the daemon's run directory, its socket for the agent, and its snapshot."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def tell(self, rules: dict[str, Rules], peers: dict[str, list[str]]) -> None:
        """Send the whole table, as the agent does; returns when the daemon has it. `peers` of a pod are the addresses
        that its grant `web` opens the port 8080 for."""
        names = {name: f"{VFS[name]:016x}" for name in peers}
        sets = {names[name]: frozenset(map(policies.packed, each)) for name, each in peers.items()}
        grants = {f"web-{name}": Grant(f"x/{name}", (Opening((names[name],), ports=WEB),)) for name in peers}
        grants["none"] = Grant("x/none")
        table = policies.PolicyTable(sets, grants, {("x", name, ""): each for name, each in rules.items()})
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(60)
            agent.connect(str(self._folder / "policies.sock"))
            agent.sendall(policy_frames.FORMAT.encoded(policy_changes.whole(table)))
            agent.shutdown(socket.SHUT_WR)
            assert agent.recv(1) == b"", "the daemon hangs up when it has taken everything"

    def call(self, command: str, pod: "Pod", container: str = "", **keys: Any) -> None:
        """As a shim does it, without a process: those take long to start here."""
        given = [{"address": address(pod.number, version) + length} for version, length in (("4", "/24"), ("6", "/64"))]
        network = harness.configuration(
            igb.vf(pod.number).pci,
            cniVersion="1.0.0",
            mac=mac(pod.number),
            policy="kubernetes",
            ipam={"type": "static"},
            **keys,
        )
        harness.call_without_a_process(
            self._folder / "run/cni.sock",
            json.dumps(network).encode(),
            json.dumps({"cniVersion": "1.0.0", "ips": given}),
            COMMAND=command,
            CONTAINERID=container or pod.name,
            NETNS=pod.namespace.path,
            IFNAME="net1",
            PATH="/usr/lib/cni",
            ARGS=f"IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME={pod.name}",
        )


def mac(number: int) -> str:
    return f"02:00:00:00:58:0{number}"


def address(number: int, version: str) -> str:
    return {"4": f"10.58.0.{number}", "6": f"fd58::{number}"}[version]


@contextlib.contextmanager
def opened(folder: pathlib.Path) -> Iterator[Node]:
    options = {
        "--run-dir": folder / "run",
        "--policy": folder / "none",
        "--policy-socket": folder / "policies.sock",
        "--policy-snapshot": folder / "policies",
        "--cluster-uid": 0,
    }
    words = [str(word) for pair in options.items() for word in pair]
    with subprocess.Popen([sys.executable, "-m", "sriov_cni", *words], cwd=PROJECT) as process:
        try:
            assert namespaces.until((folder / "run/cni.sock").exists, 60) and process.poll() is None
            yield Node(folder)
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def pod(name: str) -> Iterator[Pod]:
    """A pod without its VF yet."""
    with igb.borrowed(VFS[name]), namespaces.made(name) as made:
        linked.ip(made.name, "link set lo up")
        yield Pod(name, made)


@contextlib.contextmanager
def with_vf(node: Node, name: str, **keys: Any) -> Iterator[Pod]:
    with pod(name) as made:
        node.call("ADD", made, **keys)
        try:
            yield made
        finally:
            node.call("DEL", made, **keys)


def reaches(client: Pod, server: Pod, version: str, port: int = 8080) -> bool:
    """Whether a connection comes to be."""
    where, target = server.namespace.handle, address(server.number, version)
    with linked.socket_in(where, target) as listener, linked.socket_in(client.namespace.handle, target) as caller:
        listener.bind((target, port))
        listener.listen()
        try:
            caller.connect((target, port))
        except OSError:
            return False
        return True


def packets(where: netns.Netns) -> socket.socket:
    """A socket that gets every datagram that IP lets in."""
    with netns.entered(where):
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    made.setblocking(False)
    return made
