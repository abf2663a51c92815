"""Nothing that root in a pod sends by itself passes its policies, with `policyRaw`: forged, raw, in pieces, hidden.

Each is seen to pass in a pod that no policy selects, so that a test that sends nothing fails.
"""

import functools
import socket
import struct
from collections.abc import Iterator

import pytest

from sriov.cluster import policies
from sriov.cluster.policies import Grant, Opening, PortSpan, Rules, Transport
from sriov.linux import netns
from tests.kernel import crafted, linked, policed, ways_out
from tests.kernel.crafted import CLOSED, FORGED, MARKER, OPENED, UDP
from tests.kernel.linked import V4, V6
from tests.kernel.policed import UNSELECTED, Stage, table

pytestmark = pytest.mark.root
HOST = "host0"
WEB = (PortSpan(Transport.TCP, OPENED, OPENED), PortSpan(Transport.UDP, OPENED, OPENED))


def opened() -> policies.PolicyTable:
    """Both directions, for the world's addresses and the ports of OPENED."""
    found = table(Rules(("web",), ("web",)))
    grant = Grant("x/web", (Opening(("0123456789abcdef",), ports=WEB),))
    return policies.PolicyTable(found.sets, {"web": grant}, found.rules)


def started(here: Stage, said: policies.PolicyTable) -> Stage:
    here.put(said)
    linked.ip(here.place.pod.name, "link set lo up")
    assert here.add(policyRaw=True, hostLink=True).code == 0
    for of in (V4, V6):  # nobody waits for a neighbour afterwards
        assert here.reaches(of, ingress=False)
    return here


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with policed.opened(tmp_path_factory.mktemp("free")) as made:
        yield started(made, table(UNSELECTED))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with policed.opened(tmp_path_factory.mktemp("held")) as made:
        yield started(made, opened())


def escapes(
    here: Stage, way: ways_out.Way, *frames: bytes, device: str = "net1", patience: float = linked.PATIENCE
) -> bool:
    """Whether anything with the marker leaves the pod when it sends these."""
    where, out = (here.place.world.handle, "vf0") if device == "net1" else (here.place.home, far_end(here))
    with ways_out.watched(where, out) as listening:
        with netns.entered(here.place.pod.handle):
            for each in frames:
                way(device, each)
        return ways_out.comes(listening, MARKER, patience)


def stays(here: Stage, way: ways_out.Way, *frames: bytes, device: str = "net1") -> bool:
    """Whether nothing does while something might be on the way."""
    return not escapes(here, way, *frames, device=device, patience=ways_out.QUIET)


def far_end(here: Stage) -> str:
    """The node's end of the host link."""
    [found] = [each["ifname"] for each in linked.shown(here.place.node.name, "link") if is_far_end(each["ifname"])]
    return str(found)


def is_far_end(name: str) -> bool:
    return name.startswith("svl")


def closed(of: linked.Addresses, protocol: int = UDP, port: int = CLOSED, source: str = "") -> bytes:
    return crafted.transport(protocol, port, source or of.pod, of.gateway)


PACKETS = {
    "IPv4, UDP": [crafted.ipv4(closed(V4))],
    "IPv4, TCP": [crafted.ipv4(closed(V4, crafted.TCP), crafted.TCP)],
    "IPv4, another protocol": [crafted.ipv4(MARKER, 253)],
    "IPv6, UDP": [crafted.ipv6(closed(V6))],
    "IPv6, TCP": [crafted.ipv6(closed(V6, crafted.TCP), crafted.TCP)],
    "IPv4, forged source, to what is open": [
        crafted.ipv4(closed(V4, port=OPENED, source=FORGED[4]), source=FORGED[4]),
    ],
    "IPv6, forged source, to what is open": [
        crafted.ipv6(closed(V6, port=OPENED, source=FORGED[6]), source=FORGED[6]),
    ],
    "IPv4, forged source": [crafted.ipv4(closed(V4, source=FORGED[4]), source=FORGED[4])],
    "IPv4, loose source route by what is open": [
        crafted.ipv4(closed(V4, port=OPENED), options=b"\x83\x07\x04" + socket.inet_aton(V4.elsewhere) + b"\0"),
    ],
    "IPv4, strict source route by what is open": [
        crafted.ipv4(closed(V4, port=OPENED), options=b"\x89\x07\x04" + socket.inet_aton(V4.elsewhere) + b"\0"),
    ],
    "IPv6, routing header by what is open": [
        crafted.ipv6(crafted.routing(UDP, V6.elsewhere) + closed(V6, port=OPENED), crafted.ROUTING)
    ],
    "IPv6, routing header behind options by what is open": [
        crafted.ipv6(
            crafted.options(crafted.ROUTING) + crafted.routing(UDP, V6.elsewhere) + closed(V6, port=OPENED),
            crafted.OPTIONS,
        )
    ],
    "IPv6, hop-by-hop": [crafted.ipv6(crafted.options(UDP) + closed(V6), crafted.HOP_BY_HOP)],
    "IPv6, destination options": [crafted.ipv6(crafted.options(UDP) + closed(V6), crafted.OPTIONS)],
    "IPv6, nested": [
        crafted.ipv6(
            crafted.options(crafted.OPTIONS) + crafted.options(crafted.AH) + crafted.authentication(UDP) + closed(V6),
            crafted.HOP_BY_HOP,
        )
    ],
    "IPv6, AH": [crafted.ipv6(crafted.authentication(UDP) + closed(V6), crafted.AH)],
    "IPv6, ESP": [crafted.ipv6(struct.pack("!II", 1, 1) + closed(V6), crafted.ESP)],
    "IPv4, ESP": [crafted.ipv4(struct.pack("!II", 1, 1) + closed(V4), crafted.ESP)],
    "IPv6, no next header": [crafted.ipv6(MARKER, 59)],
    "IPv6 in IPv4": [crafted.ipv4(crafted.ipv6(closed(V6)), 41)],
    "IPv4 in IPv6": [crafted.ipv6(crafted.ipv4(closed(V4)), 4)],
    "a neighbour solicitation that carries more": [crafted.discovery(135, V6.gateway)],
    "a neighbour solicitation beyond the link": [crafted.discovery(135, V6.elsewhere)],
    "a listener report that carries more": [crafted.discovery(131, V6.gateway)],
}
OPEN4, OPEN6 = (closed(each, port=OPENED) for each in (V4, V6))
CLOSED4, CLOSED6 = (closed(each, crafted.TCP) for each in (V4, V6))


def pieces4(data: bytes, ident: int, protocol: int = UDP) -> list[bytes]:
    """Two, of which the first has eight bytes."""
    first = crafted.ipv4(data[:8], protocol, more=True, ident=ident)
    return [first, crafted.ipv4(data[8:], protocol, offset=8, ident=ident)]


def piece6(data: bytes, ident: int, offset: int, *, more: bool, following: int = UDP) -> bytes:
    return crafted.ipv6(crafted.fragment(following, offset, ident, more=more) + data, crafted.FRAGMENT)


FRAGMENTS = {
    "IPv4, what follows the first": pieces4(OPEN4, 11),
    "IPv4, the first is small": pieces4(CLOSED4, 12, crafted.TCP),
    "IPv4, the first never comes": pieces4(OPEN4, 13)[1:],
    "IPv4, overlapping": [
        crafted.ipv4(OPEN4[:16], more=True, ident=14),
        crafted.ipv4(MARKER + bytes(7), offset=8, ident=14),
    ],
}
WHOLE = {
    "IPv4, the first is small": pieces4(CLOSED4, 21, crafted.TCP),
    "IPv4, overlapping": [
        crafted.ipv4(OPEN4[:16], more=True, ident=22),
        crafted.ipv4(bytes(16), offset=8, more=True, ident=22),
        crafted.ipv4(MARKER, offset=24, ident=22),
    ],
    "IPv6, the first is small": [
        piece6(CLOSED6[:8], 23, 0, more=True, following=crafted.TCP),
        piece6(CLOSED6[8:], 23, 8, more=False, following=crafted.TCP),
    ],
    "IPv6, the port is in the second": [
        piece6(crafted.options(crafted.TCP), 24, 0, more=True, following=crafted.OPTIONS),
        piece6(CLOSED6, 24, 8, more=False, following=crafted.OPTIONS),
    ],
    "IPv6, overlapping": [
        piece6(OPEN6[:16], 25, 0, more=True),
        piece6(bytes(16), 25, 8, more=True),
        piece6(MARKER, 25, 24, more=False),
    ],
    "IPv6, atomic": [piece6(CLOSED6, 26, 0, more=False, following=crafted.TCP)],
}


PASSING4 = pieces4(OPEN4, 31)
PASSING6 = [piece6(OPEN6[:8], 32, 0, more=True), piece6(OPEN6[8:], 32, 8, more=False)]


@pytest.mark.parametrize("kind", PACKETS)
def test_a_raw_socket_of_ip_gets_nothing_out(free: Stage, held: Stage, kind: str) -> None:
    assert escapes(free, ways_out.by_raw_ip, *PACKETS[kind])
    assert stays(held, ways_out.by_raw_ip, *PACKETS[kind])


@pytest.mark.parametrize("kind", FRAGMENTS)
def test_fragments_that_nothing_puts_together_do_not_get_out(free: Stage, held: Stage, kind: str) -> None:
    assert escapes(free, ways_out.by_raw_ip_in_pieces, *FRAGMENTS[kind])
    assert stays(held, ways_out.by_raw_ip_in_pieces, *FRAGMENTS[kind])


@pytest.mark.parametrize("kind", WHOLE)
def test_fragments_are_put_together_before_the_port_is_looked_at(free: Stage, held: Stage, kind: str) -> None:
    assert escapes(free, ways_out.by_raw_ip, *WHOLE[kind])
    assert stays(held, ways_out.by_raw_ip, *WHOLE[kind])


@pytest.mark.parametrize("pieces", [PASSING4, PASSING6], ids=["IPv4", "IPv6"])
def test_fragments_of_what_is_open_pass(held: Stage, pieces: list[bytes]) -> None:
    assert escapes(held, ways_out.by_raw_ip, *pieces)


FRAMES = {
    **{kind: crafted.ethernet(PACKETS[kind][0]) for kind in ("IPv4, UDP", "IPv6, UDP", "IPv6, hop-by-hop")},
    "what is open": crafted.ethernet(crafted.ipv4(OPEN4)),
    "802.1Q": crafted.ethernet(crafted.ipv4(closed(V4)), crafted.VLAN, 5),
    "802.1Q, IPv6": crafted.ethernet(crafted.ipv6(closed(V6)), crafted.VLAN, 5),
    "802.1p": crafted.ethernet(crafted.ipv4(OPEN4), crafted.VLAN, 0xE000),
    "QinQ": crafted.ethernet(crafted.ipv4(closed(V4)), crafted.QINQ, 6, crafted.VLAN, 5),
    "802.1Q, ARP": crafted.ethernet(bytes(28) + MARKER, crafted.VLAN, 5, kind=crafted.ARP),
    "ARP": crafted.ethernet(bytes.fromhex("0001080006040001") + bytes(20) + MARKER, kind=crafted.ARP),
    "a neighbour solicitation": crafted.ethernet(crafted.discovery(135, V6.gateway)),
    "a PPPoE session": crafted.ethernet(bytes.fromhex("110000010000") + MARKER, kind=crafted.PPPOE),
    "no protocol of anybody": crafted.ethernet(MARKER, kind=0x88B5),
}
DISCOVERY = {"ARP", "a neighbour solicitation"}
WAYS = (ways_out.by_packet_socket, ways_out.by_bypass, ways_out.by_ring, ways_out.by_io_uring)


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("way", WAYS)
def test_a_packet_socket_gets_nothing_out_whatever_it_sends(
    free: Stage, held: Stage, way: ways_out.Way, kind: str
) -> None:
    assert escapes(free, way, FRAMES[kind])
    assert stays(held, way, FRAMES[kind])


@pytest.mark.parametrize("kind", sorted(FRAMES.keys() - DISCOVERY))
def test_the_mark_is_worth_nothing_without_a_route(held: Stage, kind: str) -> None:
    """It is taken from the rules here, which takes NET_ADMIN."""
    mark = mark_of(held)
    for bypass in (False, True):
        way = functools.partial(ways_out.by_packet_socket, bypass=bypass, mark=mark, priority=7)
        assert stays(held, way, FRAMES[kind])


def mark_of(here: Stage) -> int:
    said = policed.shown(here, "netdev")
    return int(said.split("meta mark ")[1].split()[0], 16)


def test_a_connection_that_was_made_up_elsewhere_in_the_pod_is_none_of_this_interface(free: Stage, held: Stage) -> None:
    """Connection tracking knows no interfaces: on lo, both directions are the pod's own to forge."""
    there = crafted.ipv4(closed(V4))
    back = crafted.ipv4(crafted.transport(UDP, 40000, V4.gateway, V4.pod, own=CLOSED), source=V4.gateway, target=V4.pod)
    for here in (free, held):
        with netns.entered(here.place.pod.handle):
            ways_out.by_raw_ip("lo", there, bound=True)
            ways_out.by_raw_ip("lo", back, bound=True)
    assert escapes(free, ways_out.by_raw_ip, there)
    assert stays(held, ways_out.by_raw_ip, there)


@pytest.mark.parametrize("kind", ["what is open", "802.1Q", "no protocol of anybody"])
def test_the_host_link_is_no_way_round(free: Stage, held: Stage, kind: str) -> None:
    assert escapes(free, ways_out.by_packet_socket, FRAMES[kind], device=HOST)
    assert stays(held, ways_out.by_packet_socket, FRAMES[kind], device=HOST)
