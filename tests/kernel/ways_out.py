"""Ways of a program in a pod to send what it likes: packet sockets, raw sockets of IP, io_uring, and AF_XDP.

By bare system calls, as such a program would do it. Each is called in the pod's namespace. Beside them who watches what
comes at the other end.
"""

import contextlib
import ctypes
import mmap
import os
import socket
import struct
from collections.abc import Callable, Iterator

from sriov.linux import netns
from tests.kernel import linked

QUIET = 0.05  # seconds: nothing more is on the way
SO_MARK = 36  # include/uapi/asm-generic/socket.h
_SOL_PACKET, _QDISC_BYPASS, _TX_RING = 263, 20, 13  # include/uapi/linux/if_packet.h
_IP_HDRINCL, _IP_NODEFRAG, _IPV6_HDRINCL = 3, 22, 36
_libc = ctypes.CDLL(None, use_errno=True)
_SETUP, _ENTER = 425, 426  # io_uring_setup, io_uring_enter: the same on all architectures
_SEND = 26  # IORING_OP_SEND

Way = Callable[[str, bytes], None]
"""Sends a frame by an interface."""


def _packet_socket(device: str, kind: int = socket.SOCK_RAW) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, kind, 0)
    made.bind((device, 0))
    return made


def by_packet_socket(device: str, frame: bytes, *, bypass: bool = False, mark: int = 0, priority: int = 0) -> None:
    with _packet_socket(device) as sender:
        sender.setsockopt(socket.SOL_SOCKET, SO_MARK, struct.pack("=I", mark))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, priority)
        if bypass:
            sender.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        with contextlib.suppress(OSError):
            sender.send(frame)


def by_bypass(device: str, frame: bytes) -> None:
    by_packet_socket(device, frame, bypass=True)


def by_ring(device: str, frame: bytes) -> None:
    """A ring of one block with two frames (Documentation/networking/packet_mmap.rst)."""
    with _packet_socket(device) as sender:
        sender.setsockopt(_SOL_PACKET, _TX_RING, struct.pack("=IIII", 4096, 1, 2048, 2))
        with mmap.mmap(sender.fileno(), 4096) as ring:
            ring[32 : 32 + len(frame)] = frame  # TPACKET_ALIGN(sizeof(struct tpacket_hdr))
            ring[8:12] = struct.pack("=I", len(frame))  # tp_len
            ring[0:8] = struct.pack("=Q", 1)  # tp_status: TP_STATUS_SEND_REQUEST
            with contextlib.suppress(OSError):
                sender.send(b"")


def by_io_uring(device: str, frame: bytes) -> None:
    """One request to send, in a ring of its own (io_uring(7))."""
    request = ctypes.create_string_buffer(frame, len(frame))
    with _packet_socket(device) as sender, _uring() as (ring, found):
        tail, mask, array, requests = found
        entry = struct.pack("=BBHiQQII", _SEND, 0, 0, sender.fileno(), 0, ctypes.addressof(request), len(frame), 0)
        requests[0 : len(entry)] = entry
        [at, low] = struct.unpack_from("=I", array[0], tail) + struct.unpack_from("=I", array[0], mask)
        struct.pack_into("=I", array[0], array[1] + 4 * (at & low), 0)
        struct.pack_into("=I", array[0], tail, at + 1)
        if _libc.syscall(_ENTER, ring, 1, 1, 1, None, 0) < 0:  # IORING_ENTER_GETEVENTS
            raise OSError(ctypes.get_errno(), "io_uring_enter")


@contextlib.contextmanager
def _uring() -> Iterator[tuple[int, tuple[int, int, tuple[mmap.mmap, int], mmap.mmap]]]:
    parameters = ctypes.create_string_buffer(120)  # struct io_uring_params
    ring = int(_libc.syscall(_SETUP, 4, parameters))
    if ring < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    try:
        _head, tail, mask, _entries, _flags, _dropped, array = struct.unpack_from("=7I", parameters, 40)
        with mmap.mmap(ring, 4096, offset=0) as queue, mmap.mmap(ring, 4096, offset=0x10000000) as requests:
            yield ring, (tail, mask, (queue, array), requests)
    finally:
        os.close(ring)


def by_raw_ip(device: str, packet: bytes, *, whole: bool = True, bound: bool = False) -> None:
    """`whole`: fragments are put together on their way out, as far as somebody wants that; a socket may refuse it.

    By the route's interface, or `bound` to the device.
    """
    fourth = packet[0] >> 4 == 4
    with socket.socket(socket.AF_INET if fourth else socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        included = (socket.IPPROTO_IP, _IP_HDRINCL) if fourth else (socket.IPPROTO_IPV6, _IPV6_HDRINCL)
        sender.setsockopt(*included, 1)
        if fourth and not whole:
            sender.setsockopt(socket.IPPROTO_IP, _IP_NODEFRAG, 1)
        if bound:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        target = socket.inet_ntop(*((socket.AF_INET, packet[16:20]) if fourth else (socket.AF_INET6, packet[24:40])))
        with contextlib.suppress(OSError):
            sender.sendto(packet, (target, 0))


def by_raw_ip_in_pieces(device: str, packet: bytes) -> None:
    by_raw_ip(device, packet, whole=False)


_AF_XDP, _SOL_XDP = 44, 283
_UMEM, _UMEM_FILL, _UMEM_COMPLETION, _XDP_TX, _OFFSETS = 4, 5, 6, 3, 1  # XDP_* of include/uapi/linux/if_xdp.h
_COPY = 2  # XDP_COPY
_CHUNK, _CHUNKS = 2048, 4


def by_xdp(device: str, frame: bytes) -> None:
    """A socket that only sends, in copy mode: it needs no program on the device."""
    with (
        socket.socket(_AF_XDP, socket.SOCK_RAW, 0) as sender,
        mmap.mmap(-1, _CHUNK * _CHUNKS) as memory,
    ):
        here = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        sender.setsockopt(_SOL_XDP, _UMEM, struct.pack("=QQIIIxxxx", here, _CHUNK * _CHUNKS, _CHUNK, 0, 0))
        for each in (_UMEM_FILL, _UMEM_COMPLETION, _XDP_TX):
            sender.setsockopt(_SOL_XDP, each, struct.pack("=I", _CHUNKS))
        offsets = struct.unpack("=16Q", sender.getsockopt(_SOL_XDP, _OFFSETS, 128))
        producer, _consumer, descriptors, _flags = offsets[4:8]  # rx, tx, fill, completion
        memory[0 : len(frame)] = frame
        with mmap.mmap(sender.fileno(), 4096, offset=0x80000000) as ring:  # XDP_PGOFF_TX_RING
            address = struct.pack("=HHIII", _AF_XDP, _COPY, socket.if_nametoindex(device), 0, 0)
            if _libc.bind(sender.fileno(), address, len(address)) < 0:
                raise OSError(ctypes.get_errno(), "bind of an AF_XDP socket")
            ring[descriptors : descriptors + 16] = struct.pack("=QII", 0, len(frame), 0)
            ring[producer : producer + 4] = struct.pack("=I", 1)
            with contextlib.suppress(OSError):
                sender.send(b"", socket.MSG_DONTWAIT)


@contextlib.contextmanager
def watched(where: netns.Netns, device: str) -> Iterator[socket.socket]:
    """Every frame that comes by the device."""
    with linked.capture(where, device) as made:
        yield made


def comes(listening: socket.socket, marker: bytes, patience: float = linked.PATIENCE) -> bool:
    """Whether one with the marker comes before nothing does for so long."""
    listening.settimeout(patience)
    with contextlib.suppress(TimeoutError):
        while True:
            data, whence = listening.recvfrom(4096)
            if marker in data and whence[2] != socket.PACKET_OUTGOING:
                return True
    return False
