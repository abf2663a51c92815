"""Addresses and routes of the calling thread's namespace, as rtnetlink lists them. Changes nothing.

The device plugin's own reader, since it must not import the client that changes links. A list needs no capability
(net/core/rtnetlink.c, rtnetlink_rcv_msg()). Formats: include/uapi/linux/rtnetlink.h, if_addr.h.
/proc/net has less: no IPv4 address, of IPv4 routes only those of the main table, and of each only the first next hop
(net/ipv4/fib_trie.c, fib_route_seq_show()).
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator

import msgspec

from sriov.linux import nlsocket

_GETADDR, _GETROUTE = 22, 26
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefixlen, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_HOP = struct.Struct("=HBBi")  # struct rtnexthop: length with its attributes, flags, hops, index
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_MULTIPATH = 1, 4, 9
_UNICAST = 1  # RTN_UNICAST: a route that rejects is another type
_FAMILIES = frozenset({socket.AF_INET, socket.AF_INET6})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Tables(msgspec.Struct, frozen=True):
    """Addresses and routes, each with its link's index; a route with several next hops has an entry for each link.

    Addresses and unicast routes of every table, without those that are local to a link.
    """

    addresses: tuple[tuple[int, ipaddress.IPv4Address | ipaddress.IPv6Address], ...] = ()
    routes: tuple[tuple[int, Network], ...] = ()


def read() -> Tables:
    """Read every family that the kernel has. Raises OSError if the kernel, or a container's rules, refuse it."""
    asked = nlsocket.Socket(nlsocket.ROUTE)
    try:
        addresses = asked.ask(_GETADDR, nlsocket.DUMP, _ADDRESS.pack(0, 0, 0, 0, 0))
        routes = asked.ask(_GETROUTE, nlsocket.DUMP, _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0))
    finally:
        asked.close()
    return Tables(
        tuple(found for answer in addresses for found in _address(answer)),
        tuple(found for answer in routes for found in _route(answer)),
    )


def _address(message: bytes) -> Iterator[tuple[int, ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    """Prefer IFA_LOCAL: on a point-to-point link IFA_ADDRESS is the peer's."""
    family, _, _, _, index = _ADDRESS.unpack_from(message, nlsocket.HEADER.size)
    known = dict(nlsocket.attributes(message, nlsocket.HEADER.size + _ADDRESS.size))
    value = known.get(_IFA_LOCAL, known.get(_IFA_ADDRESS))
    if family in _FAMILIES and value is not None:
        address = ipaddress.ip_address(value)
        if not address.is_link_local and not address.is_loopback:
            yield index, address


def _route(message: bytes) -> Iterator[tuple[int, Network]]:
    family, length, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(message, nlsocket.HEADER.size)
    if kind != _UNICAST or family not in _FAMILIES:
        return
    known = dict(nlsocket.attributes(message, nlsocket.HEADER.size + _ROUTE.size))
    destination = known.get(_RTA_DST, bytes(4 if family == socket.AF_INET else 16))
    network = ipaddress.ip_network((destination, length), strict=False)
    if network.prefixlen and network.network_address.is_link_local:
        return
    if _RTA_OIF in known:
        yield struct.unpack("=i", known[_RTA_OIF])[0], network
    for index in _hops(known.get(_RTA_MULTIPATH, b"")):
        yield index, network


def _hops(data: bytes) -> Iterator[int]:
    at = 0
    while at + _HOP.size <= len(data):
        length, _, _, index = _HOP.unpack_from(data, at)
        if length < _HOP.size:
            return
        yield index
        at += length + 3 & ~3
