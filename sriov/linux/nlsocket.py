"""Blocking netlink socket: one request, its answers, bytes in and out; and pyroute2's messages as such bytes.

pyroute2 makes and reads the messages; its own sockets run an event loop for every request, which costs a pod more than
the request does: a link's state takes 0.17 ms of CPU here and 0.44 there, a change 0.04 and 0.23, a socket 0.01 and
0.35. Source: Documentation/userspace-api/netlink/intro.rst in the kernel.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

ROUTE, RDMA = 0, 20  # NETLINK_ROUTE, NETLINK_RDMA in include/uapi/linux/netlink.h
# NLM_F_*; CREATE refuses what exists already (NLM_F_EXCL), ADD does not.
ACK, DUMP, CREATE, ADD = 0x4, 0x300, 0x600, 0x400
_REQUEST, _MULTI = 0x1, 0x2
_ERROR, _DONE = 2, 3
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_CODE = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
NESTED = 0x8000  # NLA_F_NESTED
_SIOCSIFNAME = 0x8923
_IFREQ = struct.Struct("=16s16s8x")  # struct ifreq: the present name, and the new one in its union
Fields = Mapping[str, int]
Attributes = Sequence[tuple[str, Any]]
_KIND = 0x3FFF  # NLA_TYPE_MASK: without the flags for nested and for network byte order


def attributes(data: bytes, at: int) -> list[tuple[int, bytes]]:
    """Return kind and value of each attribute from `at` on; a nested attribute's value is its attributes."""
    found: list[tuple[int, bytes]] = []
    head, read, last = _ATTRIBUTE.size, _ATTRIBUTE.unpack_from, len(data) - _ATTRIBUTE.size
    while at <= last:
        size, kind = read(data, at)
        if size < head:
            break
        found.append((kind & _KIND, data[at + head : at + size]))
        at += size + 3 & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """Encode one attribute, padded."""
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


class Socket:
    """Netlink socket of the calling thread's namespace. Belongs to one thread. OSError if there is no such protocol."""

    def __init__(self, protocol: int) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Return the kernel's answers, each with its header. Raises OSError if it refuses.

        A request without ACK or DUMP is answered by one message.
        """
        return [*self.answers(kind, flags, body)]

    def answers(self, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
        """Yield the same as they come. Who has enough of them may leave the rest."""
        self._sequence += 1
        self._socket.send(HEADER.pack(HEADER.size + len(body), kind, flags | _REQUEST, self._sequence, 0) + body)
        while True:
            for message in self._received():
                _, answer, answered, sequence, _ = HEADER.unpack_from(message)
                if sequence != self._sequence:
                    continue  # the answer to an earlier request, which was given up
                if answer in (_ERROR, _DONE):
                    _raise(message)
                    return
                yield message
                if not (flags & ACK or answered & _MULTI):
                    return

    def rename_called(self, name: str, new: str) -> None:
        """Rename the link called `name` by ioctl; in `new`, %d becomes the first free number. Raises OSError."""
        fcntl.ioctl(self._socket, _SIOCSIFNAME, _IFREQ.pack(name.encode(), new.encode()))

    def _received(self) -> Iterator[bytes]:
        """Yield the messages of one datagram, which is read whole, however long it is."""
        size = self._socket.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
        data = self._socket.recv(size)
        at = 0
        while at < len(data):
            (length,) = struct.unpack_from("=I", data, at)
            yield data[at : at + length]
            at += length + 3 & ~3


def _raise(message: bytes) -> None:
    code = _CODE.unpack_from(message, HEADER.size)[0]
    if code:
        raise OSError(-code, os.strerror(-code))


def body(shape: Any, fields: Fields | None = None, attributes: Attributes = ()) -> bytes:
    """Encode a request with one of pyroute2's message classes, without its header."""
    request = shape()
    request.update(fields or {})
    request["attrs"] = [list(each) for each in attributes]
    request.encode()
    return bytes(request.data[HEADER.size :])


def read(shape: Any, answers: Iterable[bytes]) -> list[Any]:
    """Decode answers with pyroute2's message class `shape`."""
    messages = [shape(data) for data in answers]
    for message in messages:
        message.decode()
    return messages
