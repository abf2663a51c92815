"""Nothing that a peer forges, cuts to pieces or hides behind headers gets in, and what a pod builds is no way round.

Each is seen to pass in a pod that no policy selects.
"""

import contextlib
import select
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest

from sriov.linux import netns
from tests.kernel import crafted, linked, namespaces, test_policy_escapes, ways_out
from tests.kernel.crafted import CLOSED, FORGED, MARKER, OPENED, UDP
from tests.kernel.linked import V4, V6
from tests.kernel.policed import Stage
from tests.kernel.test_policy_escapes import escapes, stays

pytestmark = pytest.mark.root
free, held = test_policy_escapes.free, test_policy_escapes.held
MAC = "02:00:00:00:dd:07"
_QUIET = 0.16  # seconds: nothing more is on the way
_PROTOCOLS = (4, crafted.TCP, UDP, 41, crafted.ESP, crafted.AH, crafted.ICMP6, 253)


def to_pod4(port: int = CLOSED, source: str = V4.gateway, protocol: int = UDP) -> bytes:
    return crafted.ipv4(crafted.transport(protocol, port, source, V4.pod), protocol, source, V4.pod)


def to_pod6(
    port: int = CLOSED, source: str = V6.gateway, protocol: int = UDP, extra: bytes = b"", first: int = UDP
) -> bytes:
    return crafted.ipv6(extra + crafted.transport(protocol, port, source, V6.pod), first, source, V6.pod)


def pieces4(data: bytes, ident: int) -> list[bytes]:
    keys = {"source": V4.gateway, "target": V4.pod, "ident": ident}
    return [crafted.ipv4(data[:8], more=True, **keys), crafted.ipv4(data[8:], offset=8, **keys)]  # type: ignore[arg-type]


def pieces6(data: bytes, ident: int, following: int) -> list[bytes]:
    parts = ((data[:8], 0, True), (data[8:], 8, False))
    return [
        crafted.ipv6(crafted.fragment(following, at, ident, more=more) + part, crafted.FRAGMENT, V6.gateway, V6.pod)
        for part, at, more in parts
    ]


SIX = crafted.transport(UDP, CLOSED, V6.gateway, V6.pod)
PACKETS = {
    "IPv4, UDP": [to_pod4()],
    "IPv4, TCP": [to_pod4(protocol=crafted.TCP)],
    "IPv6, UDP": [to_pod6()],
    "from nobody's address": [to_pod4(OPENED, FORGED[4])],
    "from nobody's address, IPv6": [to_pod6(OPENED, FORGED[6])],
    "from the node's address": [to_pod4(OPENED, V4.node)],
    "from the node's address, IPv6": [to_pod6(OPENED, V6.node)],
    "IPv4, small fragments": pieces4(crafted.transport(UDP, CLOSED, V4.gateway, V4.pod), 41),
    "IPv6, small fragments": pieces6(SIX, 42, UDP),
    "IPv6, hop-by-hop": [to_pod6(extra=crafted.options(UDP), first=crafted.HOP_BY_HOP)],
    "IPv6, destination options": [to_pod6(extra=crafted.options(UDP), first=crafted.OPTIONS)],
    "IPv6, a routing header that is used up": [
        to_pod6(extra=crafted.routing(UDP, V6.far, left=0), first=crafted.ROUTING)
    ],
    "IPv6, nested": [to_pod6(extra=crafted.options(crafted.OPTIONS) + crafted.options(UDP), first=crafted.HOP_BY_HOP)],
    "IPv6, AH": [to_pod6(extra=crafted.authentication(UDP), first=crafted.AH)],
    "IPv4, ESP": [crafted.ipv4(struct.pack("!II", 1, 1) + MARKER, crafted.ESP, V4.gateway, V4.pod)],
    "IPv6, ESP": [crafted.ipv6(struct.pack("!II", 1, 1) + MARKER, crafted.ESP, V6.gateway, V6.pod)],
    "IPv4 in IPv4": [crafted.ipv4(to_pod4(), 4, V4.gateway, V4.pod)],
    "discovery from beyond the link": [
        crafted.ipv6(crafted.discovery(135, V6.pod, V6.gateway)[40:], crafted.ICMP6, V6.gateway, V6.pod, hops=64)
    ],
}
TAGS = {"": (), "802.1p": (crafted.VLAN, 0xE000), "802.1p twice": (crafted.QINQ, 0, crafted.VLAN, 0)}


def gets_in(here: Stage, *packets: bytes, tags: tuple[int, ...] = (), patience: float = linked.PATIENCE) -> bool:
    """Whether IP in the pod gets anything with the marker when the world sends these on the VF's network."""
    [link] = linked.shown(here.place.pod.name, "link", "show", "net1")
    mac = bytes.fromhex(link["address"].replace(":", ""))
    with contextlib.ExitStack() as stack:
        listening = [stack.enter_context(each) for each in _listeners(here.place.pod.handle)]
        with netns.entered(here.place.world.handle):
            for each in packets:
                ways_out.by_packet_socket("vf0", crafted.ethernet(each, *tags, target=mac))
        return _have(listening, patience)


def stays_out(here: Stage, *packets: bytes, tags: tuple[int, ...] = ()) -> bool:
    """Whether it does not while something might be on the way."""
    return not gets_in(here, *packets, tags=tags, patience=_QUIET)


def _listeners(where: netns.Netns) -> Iterator[socket.socket]:
    with netns.entered(where):
        for family in (socket.AF_INET, socket.AF_INET6):
            for protocol in _PROTOCOLS:
                yield socket.socket(family, socket.SOCK_RAW, protocol)


def _have(listening: list[socket.socket], patience: float) -> bool:
    while ready := select.select(listening, [], [], patience)[0]:
        if any(MARKER in each.recv(4096) for each in ready):
            return True
    return False


@pytest.mark.parametrize("kind", PACKETS)
def test_nothing_gets_in_that_is_not_open(free: Stage, held: Stage, kind: str) -> None:
    assert gets_in(free, *PACKETS[kind])
    assert stays_out(held, *PACKETS[kind])


def test_a_first_fragment_without_its_port_does_not_get_in(held: Stage) -> None:
    """Nor where nothing denies it, as the kernel's IPv6 itself drops it (RFC 8200, 4.5)."""
    assert stays_out(held, *pieces6(crafted.options(UDP) + SIX, 43, crafted.OPTIONS))


@pytest.mark.parametrize("tags", TAGS)
def test_a_tag_without_a_vlan_changes_nothing(free: Stage, held: Stage, tags: str) -> None:
    """The kernel takes it off, and the packet is one like others."""
    assert gets_in(free, to_pod4(), tags=TAGS[tags])
    assert stays_out(held, to_pod4(), tags=TAGS[tags])
    assert gets_in(held, to_pod4(OPENED), tags=TAGS[tags])


BUILT = {
    "a macvlan": ("link add own link net1 type macvlan mode private", "link del own"),
    "a bridge": ("link add own type bridge\nlink set net1 master own", "link set net1 nomaster\nlink del own"),
}


@pytest.mark.parametrize("kind", BUILT)
def test_what_a_pod_builds_on_its_vf_is_no_way_out(free: Stage, held: Stage, kind: str) -> None:
    """With its own address there, and by IP too. For VLANs, ipvlan and VRF there is a test in the guest."""
    make, remove = BUILT[kind]
    packet = crafted.ipv4(MARKER, 253, "10.59.0.1", "10.59.0.9")
    for here in (free, held):
        with built(here, f"{make}\nlink set own up\naddress add 10.59.0.1/24 dev own", remove):
            linked.ip(here.place.pod.name, "neigh add 10.59.0.9 lladdr 02:00:00:00:59:09 dev own")
            met = escapes if here is free else stays
            for way in (ways_out.by_packet_socket, ways_out.by_bypass):
                assert met(here, on_own(way), crafted.ethernet(packet))
            assert met(here, lambda _, each: ways_out.by_raw_ip("own", each, bound=True), packet)


def test_forwarding_of_a_pods_own_is_no_way_out(free: Stage, held: Stage) -> None:
    """A pair in the pod, at one end of which somebody sends what the pod then forwards by its VF."""
    make = (
        "link add own type veth peer name other\nlink set own up\nlink set other up\naddress add 10.59.0.1/24 dev other"
    )
    for here in (free, held):
        with built(here, make, "link del own"), netns.entered(here.place.pod.handle):
            subprocess.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.other.rp_filter=0"], check=True)
            [link] = linked.shown_here("link", "show", "other")
            mac = bytes.fromhex(link["address"].replace(":", ""))
            for port, passes in ((CLOSED, here is free), (OPENED, True)):
                data = crafted.transport(UDP, port, "10.59.0.7", V4.gateway)
                frame = crafted.ethernet(crafted.ipv4(data, source="10.59.0.7"), target=mac)
                met = escapes if passes else stays
                assert met(here, on_own(ways_out.by_packet_socket), frame), port
            subprocess.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"], check=True)


def on_own(way: ways_out.Way) -> ways_out.Way:
    """The same by the interface `own`, whatever interface is named."""
    return lambda _, frame: way("own", frame)


@contextlib.contextmanager
def built(here: Stage, make: str, remove: str) -> Iterator[None]:
    for each in make.splitlines():
        linked.ip(here.place.pod.name, each)
    assert namespaces.until(lambda: linked.sends(here.place.pod, "own"))
    try:
        yield
    finally:
        for each in remove.splitlines():
            linked.ip(here.place.pod.name, each)


@pytest.mark.parametrize("way", ["tc redirects to it", "AF_XDP"])
def test_what_passes_all_the_same(held: Stage, way: str) -> None:
    """The page says so: both are beyond every hook. The first takes NET_ADMIN, the second NET_RAW."""
    frame = crafted.ethernet(crafted.ipv4(crafted.transport(UDP, CLOSED, V4.pod, V4.gateway)))
    if way == "AF_XDP":
        assert escapes(held, ways_out.by_xdp, frame)
        return
    with built(held, "link add own type veth peer name other\nlink set own up\nlink set other up", "link del own"):
        with netns.entered(held.place.pod.handle):
            for words in (
                "qdisc add dev own clsact",
                "filter add dev own egress protocol all u32 match u8 0 0 action mirred egress redirect dev net1",
            ):
                subprocess.run(["tc", *words.split()], check=True)
        assert escapes(held, on_own(ways_out.by_packet_socket), frame)
