"""Contents of the maps of services.bpf.c, as bytes. Pure."""

import ipaddress
import struct

import msgspec

from sriov.cluster import services

_PROTOCOLS = {services.Protocol.TCP: 6, services.Protocol.UDP: 17}  # /etc/protocols
_MAPPED = bytes(10) + b"\xff\xff"
_SERVICE = struct.Struct("=IIIII")
_ASKED, _TOLD = struct.Struct("=Q20s4x"), struct.Struct("=20s4xQ")

POD, SERVICE, BACKEND, MEMBER, FRONTEND = (8, 4), (20, 40), (4, 24), (24, 4), (32, 32)
"""Lengths in bytes of a map's keys and values."""

PODS, PROOF = 0, 1
"""Spaces: which namespaces a Service is for. Agents write in the pods' alone."""


def address(endpoint: services.Endpoint | services.Frontend, protocol: services.Protocol) -> bytes:
    """struct address: IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), the port in network order."""
    packed = ipaddress.ip_address(endpoint.address).packed
    mapped = packed if len(packed) == 16 else _MAPPED + packed
    return mapped + struct.pack("!H", endpoint.port) + bytes((_PROTOCOLS[protocol], 0))


def frontend(of: services.Frontend, space: int = PODS) -> bytes:
    """Key of `services`."""
    return address(of, of.protocol)[:-1] + bytes((space,))


def space(key: bytes) -> int:
    """Return the space of a key of `services`."""
    return key[19]


class Entry(msgspec.Struct, frozen=True):
    """Value of `services`: the range of its backends, the number of this set of them, seconds of affinity, and its own
    number, which stays while the Service is there."""

    first: int
    count: int
    number: int
    affinity: int
    identity: int


def entry(key: bytes, value: Entry) -> bytes:
    return key + _SERVICE.pack(value.first, value.count, value.number, value.affinity, value.identity)


def read_entry(value: bytes) -> Entry:
    return Entry(*_SERVICE.unpack_from(value, 20))


def backends(of: services.Service, value: Entry) -> list[tuple[bytes, bytes]]:
    """Entries of `backends`."""
    number = struct.pack("=I", value.number)
    return [
        (struct.pack("=I", index), address(each, of.frontend.protocol) + number)
        for index, each in enumerate(of.backends, value.first)
    ]


def members(of: services.Service, identity: int) -> list[tuple[bytes, bytes]]:
    """Entries of `members`: which backends a pod may keep."""
    if not of.affinity:
        return []
    return [(address(each, of.frontend.protocol) + struct.pack("=I", identity), bytes(4)) for each in of.backends]


def pod(cookie: int) -> bytes:
    """Key of `pods`."""
    return struct.pack("=Q", cookie)


def cookie(key: bytes) -> int:
    return int(struct.unpack("=Q", key)[0])


def pod_space(number: int) -> bytes:
    """Value of `pods`."""
    return struct.pack("=I", number)


Reached = tuple[int, int, bytes, bytes]
"""Entry of `frontends`: a socket's cookie, its namespace's, the backend that it got, the frontend that it asked for.
The socket may be closed by now, or reach another one."""


def reached(key: bytes, value: bytes) -> Reached:
    socket, backend = _ASKED.unpack(key)
    asked, netns = _TOLD.unpack(value)
    return socket, netns, backend, asked
