"""Client of inet_diag: a namespace's connected UDP sockets, and the end of one, as `ss` lists and `ss -K` ends them.

Source: include/uapi/linux/inet_diag.h and sock_diag.h.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Protocol

import msgspec

from sriov.linux import nlsocket

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY, _DESTROY = 20, 21
_CONNECTED = 1 << 1  # TCP_ESTABLISHED, of UDP too
_REQUEST = struct.Struct("=BBxxI48s")  # struct inet_diag_req_v2
_ID = struct.Struct("!HH16s16s4s8s")  # struct inet_diag_sockid
_ID_AT = nlsocket.HEADER.size + 4  # in the answer, struct inet_diag_msg
_COOKIE = struct.Struct("=Q")
_MAPPED = bytes(10) + b"\xff\xff"
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class UdpSocket(msgspec.Struct, frozen=True):
    """A connected one. `identity` is the kernel's own name for it. `address` and `port` are the peer's; the address has
    16 bytes, IPv4 as ::ffff:a.b.c.d. `cookie` is the number that BPF programs know it by."""

    family: int
    identity: bytes
    address: bytes
    port: int
    cookie: int


class Sockets(Protocol):
    """What is asked of the kernel, of one namespace; InetDiag has the promises of each call."""

    def connected_udp(self) -> Iterator[UdpSocket]: ...

    def end(self, which: UdpSocket) -> None: ...

    def close(self) -> None: ...


class InetDiag:
    """Sockets of the namespace that the calling thread is in now. Belongs to one thread."""

    def __init__(self) -> None:
        self._socket = nlsocket.Socket(_SOCK_DIAG)

    def close(self) -> None:
        self._socket.close()

    def connected_udp(self) -> Iterator[UdpSocket]:
        """Yield them as the kernel tells them. Raises OSError, ENOENT if it has no such list (CONFIG_INET_UDP_DIAG)."""
        for family in _FAMILIES:
            request = _REQUEST.pack(family, socket.IPPROTO_UDP, _CONNECTED, b"")
            for answer in self._socket.answers(_BY_FAMILY, nlsocket.DUMP, request):
                yield _read(family, answer)

    def end(self, which: UdpSocket) -> None:
        """Have it lose its peer, and a call that waits for the peer fail with ECONNABORTED.

        Raises OSError, ENOENT if it is closed meanwhile, EOPNOTSUPP if the kernel ends no sockets
        (CONFIG_INET_DIAG_DESTROY)."""
        request = _REQUEST.pack(which.family, socket.IPPROTO_UDP, _CONNECTED, which.identity)
        self._socket.ask(_DESTROY, nlsocket.ACK, request)


def _read(family: int, answer: bytes) -> UdpSocket:
    identity = answer[_ID_AT : _ID_AT + _ID.size]
    _, port, _, peer, _, cookie = _ID.unpack(identity)
    address = _MAPPED + peer[:4] if family == socket.AF_INET else peer
    return UdpSocket(family, identity, address, port, *_COOKIE.unpack(cookie))
