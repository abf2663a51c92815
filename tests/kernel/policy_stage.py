"""A pod and everybody else, in two namespaces with a pair between them, and one packet of each kind on the way."""

import contextlib
import dataclasses
import functools
import itertools
import select
import socket
import struct
from collections.abc import Iterable, Iterator

from sriov.linux import netns
from tests.kernel import namespaces

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_RAW = {"SCTP": 132}
_FIRST_PORT = 20000
_QUIET = 0.1  # seconds: nothing more is on the way

Packet = tuple[str, str, int]
"""Address of the pod's peer, protocol, and the receiver's port."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """`pod` has the interface net1 and the addresses `own`; `others` has all other addresses, on its interface far."""

    pod: namespaces.Namespace
    others: namespaces.Namespace
    own: tuple[str, ...]

    def arriving(self, packets: Iterable[Packet], *, ingress: bool) -> set[Packet]:
        """Send them all, from the peers or, for egress, from the pod; returns those that the receiver's IP got."""
        sender, receiver = (self.others, self.pod) if ingress else (self.pod, self.others)
        with contextlib.ExitStack() as stack:
            listening = [stack.enter_context(each) for each in _listeners(receiver)]
            sent = {}
            for number, packet in enumerate(packets, _FIRST_PORT):
                own = next(each for each in self.own if (":" in each) == (":" in packet[0]))
                source, target = (packet[0], own) if ingress else (own, packet[0])
                sent[number] = packet
                made = stack.enter_context(_sender(sender, source, number, packet[1]))
                _send(made, number, target, *packet[1:])
            return {sent[number] for number in _ports(listening) if number in sent}


@contextlib.contextmanager
def staged(own: tuple[str, ...], others: Iterable[str]) -> Iterator[Stage]:
    with namespaces.made("pod") as pod, namespaces.made("others") as rest:
        namespaces.ip(pod.name, [f"link add net1 type veth peer name far netns {rest.name}"])
        for where, link, addresses in ((pod, "net1", own), (rest, "far", others)):
            lines = (
                "link set lo up",
                f"link set {link} up",
                *(f"address add {each} dev {link}" + " nodad" * (":" in each) for each in addresses),
                *(f"route add {each} dev {link}" for each in ("0.0.0.0/0", "::/0")),
            )
            namespaces.ip(where.name, lines)
        for where, link, addresses in ((pod, "net1", own), (rest, "far", others)):
            assert namespaces.until(functools.partial(namespaces.is_reached, where.handle, link, tuple(addresses)))
        yield Stage(pod, rest, own)


def _listeners(where: namespaces.Namespace) -> Iterator[socket.socket]:
    """A raw socket gets what has passed the hook for input."""
    with netns.entered(where.handle):
        for family, protocol in itertools.product((socket.AF_INET, socket.AF_INET6), PROTOCOLS.values()):
            made = socket.socket(family, socket.SOCK_RAW, protocol)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            yield made


def _sender(where: namespaces.Namespace, source: str, number: int, protocol: str) -> socket.socket:
    """A socket whose source port, except for SCTP, is the packet's number."""
    kind = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM, "SCTP": socket.SOCK_RAW}[protocol]
    with netns.entered(where.handle):
        made = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, kind, _RAW.get(protocol, 0))
    made.setblocking(False)
    made.bind((source, 0 if protocol in _RAW else number))
    return made


def _send(made: socket.socket, number: int, target: str, protocol: str, port: int) -> None:
    """One packet. What is not let out is refused, which is no answer."""
    with contextlib.suppress(OSError):
        if protocol == "TCP":
            made.connect((target, port))
        elif protocol == "UDP":
            made.sendto(b"x", (target, port))
        else:
            made.sendto(_init(number, port), (target, 0))


def _init(source: int, port: int) -> bytes:
    """An SCTP packet with an INIT chunk (RFC 9260, 3.3.2)."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 1 << 16, 1, 1, 1)
    head = struct.pack("!HHI", source, port, 0)
    summed = _crc32c(head + bytes(4) + chunk)
    return head + struct.pack("<I", summed) + chunk


def _crc32c(data: bytes) -> int:
    """RFC 9260, appendix A."""
    found = 0xFFFFFFFF
    for each in data:
        found ^= each
        for _ in range(8):
            found = found >> 1 ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF


def _ports(listening: list[socket.socket]) -> Iterator[int]:
    """The source ports of all that has come, until nothing more comes."""
    while ready := select.select(listening, [], [], _QUIET)[0]:
        for each in ready:
            data = each.recv(65536)
            at = (data[0] & 15) * 4 if each.family == socket.AF_INET else 0
            yield struct.unpack_from("!H", data, at)[0]
