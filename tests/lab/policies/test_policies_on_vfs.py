"""Policies of pods on igbvf VFs, by the guest's own kernel: between pods, the window, and what a pod builds itself.

VFs of one PF reach each other through the NIC.
"""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sriov.cluster.policies import Rules
from sriov.linux import netns
from tests.kernel import crafted, linked, namespaces, test_policy_window, ways_out
from tests.lab import igb
from tests.lab.policies import vf_pods
from tests.lab.policies.vf_pods import Node, Pod, address

STARTS = 50
DENY, FREE = Rules(("none",), ("none",)), Rules()
_FLOOD = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
    print(flush=True)
    while True:
        try:
            for _ in range(5):
                flood.sendto(b"flood", (sys.argv[1], int(sys.argv[2])))
        except OSError:
            pass
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with vf_pods.opened(tmp_path_factory.mktemp("node")) as made:
        yield made


def test_a_pod_reaches_only_whom_policies_let_it(node: Node) -> None:
    b = [address(vf_pods.VFS["b"], each) for each in "46"]
    node.tell({"a": Rules(("web-a",), None), "b": Rules(None, None), "c": FREE}, {"a": b})
    with contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(vf_pods.with_vf(node, each)) for each in "abc")
        for version in "46":
            assert namespaces.until(lambda: vf_pods.reaches(second, first, version))  # noqa: B023
            assert not vf_pods.reaches(second, first, version, 8081)
            assert not vf_pods.reaches(third, first, version)
            assert vf_pods.reaches(first, third, version), "its own connections, and their answers"
            assert vf_pods.reaches(third, second, version)
        c = [address(vf_pods.VFS["c"], each) for each in "46"]
        node.tell({"a": Rules(("web-a",), ("none",)), "b": Rules(None, ("web-b",)), "c": FREE}, {"a": c, "b": c})
        assert namespaces.until(lambda: vf_pods.reaches(third, first, "4"))
        assert namespaces.until(lambda: not vf_pods.reaches(second, first, "4"))
        assert not vf_pods.reaches(first, third, "4")
        assert vf_pods.reaches(second, third, "6")
        assert not vf_pods.reaches(second, third, "6", 8081)


def test_no_frame_passes_from_before_the_add_until_after_the_del(node: Node) -> None:
    with vf_pods.pod("a") as first, vf_pods.with_vf(node, "b") as peer:
        known = f"neigh replace {address(first.number, '4')} lladdr {vf_pods.mac(first.number)} dev net1 nud permanent"
        linked.ip(peer.namespace.name, known)
        with _flooded(peer, first), _flooded(first, peer):
            ends = [vf_pods.packets(each.namespace.handle) for each in (first, peer)]
            node.tell({"a": FREE, "b": FREE}, {})
            node.call("ADD", first, "c0")
            assert namespaces.until(lambda: all(_got(each) for each in ends)), "else this would show nothing"
            node.call("DEL", first, "c0")
            node.tell({"a": DENY, "b": FREE}, {})
            assert namespaces.until(lambda: not any(_got(each) for each in ends))
            for number in range(STARTS):
                node.call("ADD", first, f"c{number}")
                node.call("DEL", first, f"c{number}")
            assert [_got(each) for each in ends] == [0, 0]
            for each in ends:
                each.close()


def _got(listening: socket.socket) -> int:
    return test_policy_window.got(listening)


@contextlib.contextmanager
def _flooded(whence: Pod, to: Pod) -> Iterator[None]:
    target = [address(to.number, "4"), str(test_policy_window.PORT)]
    command = ["ip", "netns", "exec", whence.namespace.name, sys.executable, "-ISc", _FLOOD, *target]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


def test_a_namespace_with_rules_ends_and_its_vf_comes_home(node: Node) -> None:
    """Nobody holds it: no socket that rules would need, and none of the daemon's."""
    node.tell({"a": DENY}, {})
    with vf_pods.pod("a") as first:
        node.call("ADD", first, policyRaw=True)
        subprocess.run(["ip", "netns", "del", first.namespace.name], check=True)
        first.namespace.handle.close()
        assert namespaces.until(lambda: igb.TREE.netdev(igb.vf(first.number).pci) is not None, 60)
        node.call("DEL", first, policyRaw=True)


BUILT = {
    "a VLAN": ("8021q", "link add link net1 name own type vlan id 5"),
    "a VLAN in a VLAN": ("8021q", "link add link net1 name own type vlan protocol 802.1ad id 6"),
    "a macvlan": ("macvlan", "link add link net1 name own type macvlan mode private"),
    "an ipvlan": ("ipvlan", "link add link net1 name own type ipvlan mode l2"),
    "a bridge": ("bridge", "link add own type bridge"),
    "a VRF": ("vrf", "link add own type vrf table 10"),
}


@pytest.mark.parametrize("kind", BUILT)
def test_what_a_pod_builds_on_its_vf_is_no_way_out(node: Node, kind: str) -> None:
    """Looked at where frames go to the driver, as the NIC may drop what others do not."""
    module, words = BUILT[kind]
    subprocess.run(["modprobe", module], check=True)
    node.tell({"a": FREE}, {})
    with vf_pods.with_vf(node, "a", policyRaw=True) as pod:
        linked.ip(pod.namespace.name, words)
        if kind in ("a bridge", "a VRF"):
            linked.ip(pod.namespace.name, "link set net1 master own")
        else:
            linked.ip(pod.namespace.name, "address add 10.59.0.1/24 dev own")
        linked.ip(pod.namespace.name, "link set own up")
        target = "10.59.0.9" if kind not in ("a bridge", "a VRF") else address(9, "4")
        if kind == "a bridge":
            linked.ip(pod.namespace.name, f"address add {address(8, '4')}/24 dev own")
        assert namespaces.until(lambda: _leaves(pod, target)), "nothing denies it"
        node.tell({"a": DENY}, {})
        with netns.entered(pod.namespace.handle):
            assert namespaces.until(lambda: "hook egress" in _rules())
        assert not _leaves(pod, target)


def _rules() -> str:
    return subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout


def _leaves(pod: Pod, target: str) -> bool:
    """Whether a frame gets as far as to the VF's driver: by a packet socket, or by IP to a neighbour that is known."""
    packet = crafted.ipv4(crafted.MARKER, 253, address(pod.number, "4"), target)
    for device in ("own", "net1"):
        with contextlib.suppress(subprocess.CalledProcessError):  # a VRF has no neighbours
            linked.ip(pod.namespace.name, f"neigh replace {target} lladdr 02:00:00:00:58:0f dev {device} nud permanent")
    with linked.capture(pod.namespace.handle, "net1") as watching:
        watching.settimeout(0.2)
        with netns.entered(pod.namespace.handle):
            ways_out.by_packet_socket("own", crafted.ethernet(packet))
            ways_out.by_raw_ip("own", packet, bound=True)
        with contextlib.suppress(TimeoutError):
            while True:
                data, whence = watching.recvfrom(4096)
                if crafted.MARKER in data and whence[2] == socket.PACKET_OUTGOING:
                    return True
    return False
