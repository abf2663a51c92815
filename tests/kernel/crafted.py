"""IP packets and Ethernet frames as nobody's stack sends them: forged, in fragments, with headers before the port.

Each one that must not pass carries MARKER, by which it is told from all others.
"""

import ipaddress
import struct

from tests.kernel.linked import V4, V6

MARKER = b"this may not pass"
OPENED, CLOSED = 8080, 9999
"""Ports of which the policies of these tests open the first."""
FORGED = {4: "10.1.0.77", 6: "2001:db8:1::77"}
TCP, UDP, ESP, AH, ICMP6 = 6, 17, 50, 51, 58
HOP_BY_HOP, ROUTING, FRAGMENT, OPTIONS = 0, 43, 44, 60
BROADCAST, SENDER = b"\xff" * 6, bytes.fromhex("02736870ffff")
ARP, VLAN, QINQ, PPPOE = 0x0806, 0x8100, 0x88A8, 0x8864


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def transport(
    protocol: int, port: int, source: str, target: str, payload: bytes = MARKER, *, own: int = 40000
) -> bytes:
    """A datagram, or a segment with SYN, of the port `own` to `port`."""
    if protocol == UDP:
        head = struct.pack("!HHHH", own, port, 8 + len(payload), 0)
        at = 6
    else:
        head = struct.pack("!HHIIBBHHH", own, port, 1, 0, 5 << 4, 2, 1024, 0, 0)
        at = 16
    return summed(head + payload, at, protocol, source, target)


def summed(data: bytes, at: int, protocol: int, source: str, target: str) -> bytes:
    """The same with its checksum, which is of the addresses, too."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    found = checksum(ends + struct.pack("!II", len(data), protocol) + data)
    return data[:at] + struct.pack("!H", found) + data[at + 2 :]


def ipv4(
    payload: bytes,
    protocol: int = UDP,
    source: str = V4.pod,
    target: str = V4.gateway,
    *,
    options: bytes = b"",
    offset: int = 0,
    more: bool = False,
    ident: int = 1,
) -> bytes:
    """`offset` is in bytes, of a fragment that `more` may follow; those of a packet have one `ident`."""
    words = 5 + len(options) // 4
    where = offset >> 3 | (0x2000 if more else 0)
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    head = struct.pack("!BBHHHBBH", 4 << 4 | words, 0, words * 4 + len(payload), ident, where, 64, protocol, 0)
    whole = head + ends + options
    return whole[:10] + struct.pack("!H", checksum(whole)) + whole[12:] + payload


def ipv6(
    payload: bytes, following: int = UDP, source: str = V6.pod, target: str = V6.gateway, *, hops: int = 64
) -> bytes:
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    return struct.pack("!IHBB", 6 << 28, len(payload), following, hops) + ends + payload


def options(following: int) -> bytes:
    """Hop-by-hop or destination options: padding (RFC 8200, 4.2)."""
    return bytes([following, 0, 1, 4, 0, 0, 0, 0])


def routing(following: int, final: str, left: int = 1) -> bytes:
    """A routing header of type 0 with one address (RFC 2460, 4.4)."""
    return bytes([following, 2, 0, left, 0, 0, 0, 0]) + ipaddress.ip_address(final).packed


def fragment(following: int, offset: int, ident: int, *, more: bool) -> bytes:
    return struct.pack("!BBHI", following, 0, offset | more, ident)


def authentication(following: int) -> bytes:
    """RFC 4302, 2, with a value of four bytes."""
    return struct.pack("!BBHIII", following, 2, 0, 1, 1, 1)


def discovery(kind: int, target: str, source: str = V6.pod) -> bytes:
    """A neighbour solicitation (135) or a listener report (131) that carries more than that."""
    head = struct.pack("!BBHI", kind, 0, 0, 0) + ipaddress.ip_address(target).packed
    hops = 255 if kind == 135 else 1
    return ipv6(summed(head + MARKER, 2, ICMP6, source, target), ICMP6, source, target, hops=hops)


def ethernet(packet: bytes, *tags: int, kind: int = 0, target: bytes = BROADCAST) -> bytes:
    """A frame, to everybody unless told; `tags` are EtherTypes and identifiers of VLANs in turn."""
    kind = kind or (0x0800 if packet[0] >> 4 == 4 else 0x86DD)
    return target + SENDER + struct.pack(f"!{len(tags) + 1}H", *tags, kind) + packet
