"""No frame passes that a policy denies: at an ADD and a DEL, while the daemon is killed, and by packet sockets."""

import contextlib
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sriov.linux import netns, nftables
from tests import tiers
from tests.fakes import mock_node, policy_source
from tests.kernel import linked, namespaces, policed, test_gc
from tests.kernel.linked import V4
from tests.kernel.policed import DENY, OPEN, UNSELECTED, Stage, table
from tests.sriov_cni import harness

pytestmark = pytest.mark.root
STARTS = 10_000 if tiers.LONG else 200
REPLACED = 1_000 if tiers.LONG else 100
MAC = "02:00:00:00:dd:05"
PORT = 7777
# Both floods sleep a moment after a few packets. A program that never sleeps uses up what the scheduler gives it, and
# then waits; on busy cores it was there in every fifth half of a millisecond, and one that sleeps in two of three.
_FLOOD = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
    print(flush=True)
    while True:
        try:
            for _ in range(10):
                flood.sendto(b"flood", (sys.argv[1], int(sys.argv[2])))
        except OSError:
            pass
        time.sleep(0.0001)
"""
_FRAMES = """
import socket, sys, time
frame = b"\\xff" * 6 + b"\\x02shp\\xff\\xff" + b"\\x88\\xb5" + sys.argv[1].encode() + bytes(60)
print(flush=True)
while True:
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as flood:
            flood.bind(("net1", 0))
            while True:
                for _ in range(10):
                    flood.send(frame)
                time.sleep(0.0001)
    except OSError:
        time.sleep(0.0001)
"""
_SO_MARK = 36  # include/uapi/asm-generic/socket.h


@pytest.fixture
def stage(tmp_path: pathlib.Path) -> Iterator[Stage]:
    with policed.opened(tmp_path) as made:
        yield made


@contextlib.contextmanager
def flooding(where: namespaces.Namespace, target: str, program: str = _FLOOD) -> Iterator[None]:
    command = ["ip", "netns", "exec", where.name, sys.executable, "-c", program, target, str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def both_ways(here: Stage) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A flood from the world to the pod and back; yields what got the packets in the pod, and in the world.

    The world knows the pod's MAC already, and need not ask for it.
    """
    linked.ip(here.place.world.name, f"neigh replace {V4.pod} lladdr {MAC} dev vf0 nud permanent")
    with (
        raw(here.place.pod) as inside,
        raw(here.place.world) as outside,
        flooding(here.place.world, V4.pod),
        flooding(here.place.pod, V4.gateway),
    ):
        yield inside, outside


def raw(where: namespaces.Namespace) -> socket.socket:
    """A socket that gets every datagram that IP lets in."""
    with netns.entered(where.handle):
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    made.setblocking(False)
    return made


def got(listening: socket.socket) -> int:
    found = 0
    with contextlib.suppress(BlockingIOError):
        while data := listening.recv(2048):
            found += struct.unpack_from("!H", data, 22)[0] == PORT
    return found


def start(here: Stage, number: int, tries: int = 1, **further: object) -> None:
    """`tries` of a kubelet, while the daemon does not know the pod."""
    keys = {"families": (V4,), "mac": MAC, **further}
    who = {"CONTAINERID": f"c{number}"}
    for left in reversed(range(tries)):
        answer = here.place.client.call("ADD", policed.network(**keys), ARGS=policed.POD, **who)
        if not (answer.code == 11 and left):
            break
    assert answer.code == 0, answer


def end(here: Stage, number: int) -> None:
    network = policed.network(families=(V4,), mac=MAC)
    assert here.place.client.call("DEL", network, ARGS=policed.POD, CONTAINERID=f"c{number}").code == 0


def test_a_flood_gets_through_where_nothing_denies_it(stage: Stage) -> None:
    """Else the next test would show nothing."""
    stage.put(table(UNSELECTED))
    with both_ways(stage) as (inside, outside):
        start(stage, 0)
        assert namespaces.until(lambda: got(inside) > 0)
        assert namespaces.until(lambda: got(outside) > 0)
        end(stage, 0)


@pytest.mark.slow
def test_no_frame_passes_from_before_the_add_until_after_the_del(stage: Stage) -> None:
    stage.put(table(DENY))
    seen = [0, 0]
    with both_ways(stage) as ends:
        for number in range(STARTS):
            start(stage, number)
            end(stage, number)
            seen = [before + got(each) for before, each in zip(seen, ends, strict=True)]
    assert seen == [0, 0]


def test_no_frame_of_a_packet_socket_passes_from_before_the_add_until_after_the_del(stage: Stage) -> None:
    """It is opened on the VF as soon as that is there, and sends all the time."""
    name = "pkt-flood"
    with linked.capture(stage.place.world.handle, "vf0") as listening, flooding(stage.place.pod, name, _FRAMES):
        listening.setblocking(False)
        stage.put(table(UNSELECTED))
        start(stage, 0, policyRaw=True)
        assert namespaces.until(lambda: came(listening, name) > 0), "else this would show nothing"
        end(stage, 0)
        stage.put(table(DENY))
        came(listening, name)
        for number in range(STARTS // 4):
            start(stage, number, policyRaw=True)
            end(stage, number)
            assert came(listening, name) == 0


def came(listening: socket.socket, name: str) -> int:
    found = 0
    with contextlib.suppress(BlockingIOError):
        while data := listening.recv(2048):
            found += name.encode() in data
    return found


def test_no_frame_passes_while_policies_are_replaced(stage: Stage) -> None:
    """Each denies the flood, and none is a change of addresses alone."""
    stage.put(table(DENY))
    with both_ways(stage) as (inside, outside):
        start(stage, 0)
        for _ in range(REPLACED // 2):
            for rules in (OPEN, DENY):
                before = stage.digest
                stage.put(table(rules))
                assert namespaces.until(lambda: stage.digest != before)  # noqa: B023
        assert (got(inside), got(outside)) == (0, 0)
        end(stage, 0)


def test_rules_outlive_the_daemon_and_its_next_one_changes_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "policies"
    policy_source.write(path, table(DENY))
    with contextlib.closing(mock_node.MockNode(tmp_path, pfs=1, vfs=2)) as node, namespaces.made("pod") as pod:
        client = harness.Client(tmp_path / "run/cni.sock", linked.PLUGINS, pod.path)
        network = policed.network(families=(V4,))
        with test_gc.daemon(node, tmp_path, "--policies", str(path)) as process:
            assert client.call("ADD", network, ARGS=policed.POD).code == 0
            before = state(pod)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert state(pod) == before
        with test_gc.daemon(node, tmp_path, "--policies", str(path)):
            time.sleep(1)
            assert state(pod) == before
            policy_source.write(path, table(OPEN))
            assert namespaces.until(lambda: state(pod) != before), "it is in charge of it"
        with test_gc.daemon(node, tmp_path, "--policies", str(path)):
            assert client.call("DEL", network, ARGS=policed.POD).code == 0


def state(pod: namespaces.Namespace) -> tuple[int, tuple[bytes, ...]]:
    with netns.entered(pod.handle):
        return nftables.generation(), nftables.rules(policed.TABLE, 1 << 17)


FRAMES = {
    "IPv4": b"\x08\x00" + b"\x45" + bytes(59),
    "IPv6": b"\x86\xdd" + b"\x60" + bytes(59),
    "VLAN": b"\x81\x00\x00\x05\x08\x00" + b"\x45" + bytes(59),
    "another protocol": b"\x88\xb5" + bytes(60),
}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("bypass", [False, True], ids=["", "PACKET_QDISC_BYPASS"])
def test_a_packet_socket_gets_nothing_out_not_even_with_the_right_mark(
    stage: Stage,
    frame: str,
    bypass: bool,
) -> None:
    stage.put(table(OPEN))
    assert stage.add(families=(V4,)).code == 0
    assert namespaces.until(lambda: linked.is_wired(stage.place))
    assert sent(stage, FRAMES[frame], bypass=bypass, patience=linked.PATIENCE) == 1, "without policyRaw it gets out"
    assert stage.delete(families=(V4,)).code == 0
    assert stage.add(families=(V4,), policyRaw=True).code == 0
    assert namespaces.until(lambda: linked.is_wired(stage.place))
    assert sent(stage, FRAMES[frame], bypass=bypass) == 0
    assert sent(stage, FRAMES[frame], bypass=bypass, mark=mark_of(stage)) == 0
    assert stage.reaches(V4, ingress=True), "and what a policy opens does"
    assert stage.reaches(V4, ingress=False)


def mark_of(here: Stage) -> int:
    with netns.entered(here.place.pod.handle):
        command = ["nft", "list", "table", "netdev", policed.TABLE]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(said.split("meta mark ")[1].split()[0], 16)


def sent(here: Stage, rest: bytes, *, bypass: bool, mark: int = 0, patience: float = 0.2) -> int:
    """Send a frame of which the world can tell that it is this one; returns how often it came.

    The first may take `patience` seconds; it is the last when there was none for a while.
    """
    frame = b"\xff" * 6 + bytes.fromhex("02736870ffff") + rest
    with netns.entered(here.place.pod.handle):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with netns.entered(here.place.world.handle):
        listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))  # ETH_P_ALL
    with sender, listening:
        listening.bind(("vf0", 0x0003))
        listening.settimeout(patience)
        sender.setsockopt(socket.SOL_SOCKET, _SO_MARK, struct.pack("=I", mark))
        if bypass:
            sender.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS
        sender.bind(("net1", 0))
        with contextlib.suppress(OSError):
            sender.send(frame)
        found = 0
        with contextlib.suppress(TimeoutError):
            while True:
                found += listening.recv(2048)[6:12] == frame[6:12]
                listening.settimeout(0.2 if found else patience)
        return found
