"""Requests of a pod with root and NET_ADMIN, encoded by hand: links, ethtool, bpf(2). No product code is used.

Every function works in the namespace that it is given, whatever thread calls it, and holds nothing of it afterwards.
Each raises OSError if the kernel refuses. Numbers: include/uapi/linux/{if_link,rtnetlink,ethtool_netlink,bpf}.h.
"""

import contextlib
import ctypes
import dataclasses
import functools
import os
import socket
import struct
from collections.abc import Iterator, Mapping

from sriov.linux import netns, nlsocket

GENERIC = 16  # NETLINK_GENERIC
_NEWLINK, _DELLINK, _GETLINK, _NEWLINKPROP, _DELLINKPROP = 16, 17, 18, 108, 109
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_GENERIC = struct.Struct("=BBH")  # struct genlmsghdr
_SKIP_STATS = 8  # RTEXT_FILTER_SKIP_STATS
UP = 1  # IFF_UP

ADDRESS, BROADCAST, IFNAME, MTU, IFLINK, TXQLEN, OPERSTATE, LINKMODE, LINKINFO = 1, 2, 3, 4, 5, 13, 16, 17, 18
IFALIAS, GROUP, NET_NS_FD, EXT_MASK, NUM_TX_QUEUES, NUM_RX_QUEUES = 20, 27, 28, 29, 31, 32
GSO_MAX_SEGS, GSO_MAX_SIZE, XDP, NEW_IFINDEX, PROP_LIST, ALT_IFNAME = 40, 41, 43, 49, 52, 53
GRO_MAX_SIZE, GSO_IPV4_MAX_SIZE, GRO_IPV4_MAX_SIZE = 58, 63, 64


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel reports it: everything, as bytes by attribute."""

    index: int
    flags: int
    attributes: Mapping[int, bytes]

    @property
    def name(self) -> str:
        return self.attributes[IFNAME].rstrip(b"\0").decode()

    @property
    def peer(self) -> int:
        """Return the index of a veth's other end, which nobody can change."""
        return int.from_bytes(self.attributes.get(IFLINK, b""), "little")

    @property
    def altnames(self) -> list[str]:
        listed = nlsocket.attributes(self.attributes.get(PROP_LIST, b""), 0)
        return [value.rstrip(b"\0").decode() for kind, value in listed if kind == ALT_IFNAME]


@contextlib.contextmanager
def opened(where: netns.Netns, protocol: int = nlsocket.ROUTE) -> Iterator[nlsocket.Socket]:
    with netns.entered(where):
        made = nlsocket.Socket(protocol)
    with contextlib.closing(made):
        yield made


def number(kind: int, value: int) -> bytes:
    return nlsocket.attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    return nlsocket.attribute(kind, value.encode() + b"\0")


def nested(kind: int, *values: bytes) -> bytes:
    return nlsocket.attribute(kind | nlsocket.NESTED, b"".join(values))


def links(where: netns.Netns) -> list[Link]:
    with opened(where) as route:
        found = route.ask(_GETLINK, nlsocket.DUMP, _about(0) + number(EXT_MASK, _SKIP_STATS))
    return [_link(each) for each in found]


def link(where: netns.Netns, index: int) -> Link:
    with opened(where) as route:
        [found] = route.ask(_GETLINK, 0, _about(index) + number(EXT_MASK, _SKIP_STATS))
    return _link(found)


def change(where: netns.Netns, index: int, *attributes: bytes, flags: int = 0, mask: int = 0) -> None:
    with opened(where) as route:
        route.ask(_NEWLINK, nlsocket.ACK, _about(index, flags, mask) + b"".join(attributes))


def move(where: netns.Netns, index: int, target: netns.Netns, name: str, new_index: int = 0) -> None:
    chosen = [number(NEW_IFINDEX, new_index)] if new_index else []
    change(where, index, number(NET_NS_FD, target.fd), text(IFNAME, name), *chosen)


def add_altname(where: netns.Netns, index: int, name: str) -> None:
    with opened(where) as route:
        route.ask(
            _NEWLINKPROP, nlsocket.ACK | nlsocket.CREATE, _about(index) + nested(PROP_LIST, text(ALT_IFNAME, name))
        )


def drop_altname(where: netns.Netns, index: int, name: str) -> None:
    with opened(where) as route:
        route.ask(_DELLINKPROP, nlsocket.ACK, _about(index) + nested(PROP_LIST, text(ALT_IFNAME, name)))


def create(where: netns.Netns, kind: str, name: str, *further: bytes, data: bytes = b"", index: int = 0) -> None:
    """Make a link of this kind, as `bridge` or `macvlan`; `data` are the kind's own attributes."""
    about = nested(LINKINFO, text(1, kind), *([nested(2, data)] if data else []))
    with opened(where) as route:
        route.ask(
            _NEWLINK, nlsocket.ACK | nlsocket.CREATE, _about(index) + text(IFNAME, name) + b"".join(further) + about
        )


def create_veth(where: netns.Netns, name: str, peer: str, *further: bytes, peer_index: int = 0) -> None:
    other = _about(peer_index) + text(IFNAME, peer)
    create(where, "veth", name, *further, data=nlsocket.attribute(1, other))  # VETH_INFO_PEER


def delete(where: netns.Netns, index: int) -> None:
    with opened(where) as route:
        route.ask(_DELLINK, nlsocket.ACK, _about(index))


def number_namespace(where: netns.Netns, other: netns.Netns, wanted: int) -> None:
    """Number the other namespace in `where` (RTM_NEWNSID)."""
    with opened(where) as route:
        route.ask(88, nlsocket.ACK, struct.pack("=B3x", 0) + number(1, wanted) + number(3, other.fd))


def ethtool(generic: nlsocket.Socket, index: int, command: int, *body: bytes, ack: bool = True) -> list[bytes]:
    """Send one request of ethtool's family; returns the answers' attributes."""
    head = _GENERIC.pack(command, 1, 0) + nested(1, number(1, index))
    found = generic.ask(_family(b"ethtool"), nlsocket.ACK if ack else 0, head + b"".join(body))
    return [each[nlsocket.HEADER.size + _GENERIC.size :] for each in found]


@functools.cache
def _family(name: bytes) -> int:
    with contextlib.closing(nlsocket.Socket(GENERIC)) as generic:
        [found] = generic.ask(16, 0, _GENERIC.pack(3, 1, 0) + nlsocket.attribute(2, name + b"\0"))
    fields = dict(nlsocket.attributes(found, nlsocket.HEADER.size + _GENERIC.size))
    return int.from_bytes(fields[1], "little")


def _about(index: int, flags: int = 0, mask: int = 0) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, mask)


def _link(message: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(message, nlsocket.HEADER.size)
    return Link(index, flags, dict(nlsocket.attributes(message, nlsocket.HEADER.size + _LINK.size)))


_libc = ctypes.CDLL(None, use_errno=True)
_BPF = 321  # the system call's number on x86_64
_PROG_LOAD, _PROG_ATTACH, _PROG_QUERY, _LINK_CREATE = 5, 8, 16, 28
_SCHED_CLS, _XDP_PROGRAM = 3, 6
_ATTACH_XDP, TCX_INGRESS, TCX_EGRESS = 37, 46, 47
_MOVE_AND_EXIT = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)  # r0 = 2, XDP_PASS; exit
_NEXT_AND_EXIT = struct.pack("=BBhiBBhi", 0xB7, 0, 0, -1, 0x95, 0, 0, 0)  # r0 = -1, TCX_NEXT; exit
_XDP_FD, _XDP_FLAGS = 1, 3
XDP_GENERIC, XDP_NATIVE = 2, 4


def attach_xdp(where: netns.Netns, index: int, mode: int) -> None:
    """Attach as `ip link set … xdp` does: the program stays without anybody holding it."""
    program = nlsocket.attribute(_XDP_FD, struct.pack("=i", _xdp_program()))
    change(where, index, nested(XDP, program, number(_XDP_FLAGS, mode)))


def link_xdp(where: netns.Netns, index: int, mode: int) -> int:
    """Attach by a bpf link: it stays as long as the descriptor, and nobody can remove it by netlink."""
    return _link_create(where, _xdp_program(), index, _ATTACH_XDP, mode)


def link_tcx(where: netns.Netns, index: int, direction: int) -> int:
    return _link_create(where, _tcx_program(), index, direction, 0)


def attach_tcx(where: netns.Netns, index: int, direction: int) -> None:
    with netns.entered(where):
        _bpf(_PROG_ATTACH, struct.pack("=IIIIII", index, _tcx_program(), direction, 0, 0, 0) + bytes(8))


def programs_of_tcx(where: netns.Netns, index: int, direction: int) -> int:
    """Count the programs. The kernel keeps them on a link that moves to another namespace (seen on 6.18)."""
    with netns.entered(where):
        answer = _bpf(_PROG_QUERY, struct.pack("=IIIIQI", index, direction, 0, 0, 0, 0) + bytes(36))[1]
    return int(struct.unpack_from("=I", answer, 24)[0])


@functools.cache
def _xdp_program() -> int:
    return _load(_XDP_PROGRAM, _MOVE_AND_EXIT, 0)


@functools.cache
def _tcx_program() -> int:
    return _load(_SCHED_CLS, _NEXT_AND_EXIT, TCX_INGRESS)


def _load(kind: int, instructions: bytes, expected: int) -> int:
    code, licence = ctypes.create_string_buffer(instructions), ctypes.create_string_buffer(b"GPL")
    places = ctypes.addressof(code), ctypes.addressof(licence)
    request = struct.pack("=IIQQIIQII16sII", kind, 2, *places, 0, 0, 0, 0, 0, b"adversary", 0, expected)
    return _bpf(_PROG_LOAD, request)[0]


def _link_create(where: netns.Netns, program: int, index: int, kind: int, flags: int) -> int:
    with netns.entered(where):
        return _bpf(_LINK_CREATE, struct.pack("=IIII", program, index, kind, flags) + bytes(48))[0]


def _bpf(command: int, request: bytes) -> tuple[int, bytes]:
    buffer = ctypes.create_string_buffer(request, max(len(request), 144))
    result = int(_libc.syscall(_BPF, command, buffer, len(request)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, buffer.raw
