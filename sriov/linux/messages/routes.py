"""Addresses and routes: messages that add them, and the kernel's lists of them. Pure.

Part of netlink. What every pod waits for is encoded and read by hand, since pyroute2 takes up to 0.2 ms of CPU for
each; it reads lists of routes. Attributes: include/uapi/linux/if_addr.h and rtnetlink.h.
"""

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from sriov.linux import kernel, nlsocket

# include/uapi/linux/rtnetlink.h
_MAIN, _STATIC, _UNICAST = 254, 4, 1  # RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST
_ONLINK_FLAG = 4  # RTNH_F_ONLINK
_ON_LINK = 253  # RT_SCOPE_LINK: a destination without a gateway


_POINT_TO_POINT_4 = 31  # prefix length from which on a network has no broadcast address (RFC 3021)


_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS, _RTA_TABLE = 1, 4, 5, 6, 7, 8, 15
_RTAX_MTU, _RTAX_ADVMSS = 2, 8


def address(index: int, wanted: kernel.IpInterface) -> bytes:
    """Build the request that adds the address. The kernel derives no broadcast address (inet_rtm_newaddr())."""
    length = wanted.network.prefixlen
    values = [(_IFA_ADDRESS, wanted.ip.packed)]
    if wanted.version == 4:
        values.insert(0, (_IFA_LOCAL, wanted.ip.packed))
        if length < _POINT_TO_POINT_4:
            values.append((_IFA_BROADCAST, wanted.network.broadcast_address.packed))
    family = socket.AF_INET if wanted.version == 4 else socket.AF_INET6
    return _ADDRESS.pack(family, length, 0, 0, index) + b"".join(nlsocket.attribute(*each) for each in values)


class Address(msgspec.Struct, frozen=True):
    """An address in the kernel's list. `flags` are IFA_F_*."""

    index: int
    flags: int
    scope: int
    interface: kernel.IpInterface


def index_of(message: bytes) -> int:
    """Read the index of an address's link, and nothing else: there may be thousands."""
    return int(_ADDRESS.unpack_from(message, nlsocket.HEADER.size)[-1])


def listed(message: bytes) -> Address:
    """Read an address from the kernel's list."""
    _, length, flags, scope, index = _ADDRESS.unpack_from(message, nlsocket.HEADER.size)
    found = dict(nlsocket.attributes(message, nlsocket.HEADER.size + _ADDRESS.size))
    own = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
    every = int.from_bytes(found[_IFA_FLAGS], sys.byteorder) if _IFA_FLAGS in found else flags
    return Address(index, every, scope, ipaddress.ip_interface((own, length)))


def request(index: int, route: kernel.Route) -> bytes:
    """Build the request that adds the route to a link."""
    scope, table = route.scope, route.table or _MAIN
    if scope is None:
        scope = _ON_LINK if route.gateway is None and route.dst.version == 4 else 0
    flags = _ONLINK_FLAG if route.onlink else 0
    short = table if table < 256 else 0
    head = _ROUTE.pack(_family(route.dst), route.dst.prefixlen, 0, 0, short, _STATIC, scope, _UNICAST, flags)
    every = (
        (_RTA_DST, route.dst.network_address.packed if route.dst.prefixlen else None),
        (_RTA_GATEWAY, route.gateway.packed if route.gateway is not None else None),
        (_RTA_PREFSRC, route.source.packed if route.source is not None else None),
        (_RTA_PRIORITY, _number(route.priority)),
        (_RTA_METRICS, _metrics(route)),
        (_RTA_TABLE, _number(table)),
        (_RTA_OIF, _number(index)),
    )
    return head + b"".join(nlsocket.attribute(kind, value) for kind, value in every if value is not None)


def _number(value: int | None) -> bytes | None:
    return None if value is None else struct.pack("=I", value)


def _metrics(route: kernel.Route) -> bytes | None:
    every = ((_RTAX_MTU, _number(route.mtu)), (_RTAX_ADVMSS, _number(route.advmss)))
    return b"".join(nlsocket.attribute(kind, value) for kind, value in every if value is not None) or None


def lookup(destination: kernel.IpAddress) -> bytes:
    """Build the request for the route to one address."""
    head = _ROUTE.pack(_family(destination), destination.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    return head + nlsocket.attribute(_RTA_DST, destination.packed)


def source(message: bytes) -> kernel.IpAddress | None:
    """Read from where packets of a route that was asked for are sent."""
    found = dict(nlsocket.attributes(message, nlsocket.HEADER.size + _ROUTE.size)).get(_RTA_PREFSRC)
    return None if found is None else ipaddress.ip_address(found)


def _family(of: kernel.IpNetwork | kernel.IpAddress) -> int:
    return socket.AF_INET if of.version == 4 else socket.AF_INET6


def is_unicast(message: Any) -> bool:
    return bool(message["type"] == _UNICAST)


def shown(message: Any, index: int) -> Iterator[kernel.Route]:
    """Yield the routes over this link in one message of the kernel's list.

    IPv6 merges two routes of one destination into one with two next hops (fib6_add_rt2node()).
    """
    for hop in message.get_attr("RTA_MULTIPATH") or (message,):
        if index == (message.get_attr("RTA_OIF") if hop is message else hop["oif"]):
            yield _route(message, hop.get_attr("RTA_GATEWAY"))


def _route(message: Any, gateway: str | None) -> kernel.Route:
    everywhere = kernel.EVERYWHERE_4 if message["family"] == socket.AF_INET else kernel.EVERYWHERE_6
    dst = message.get_attr("RTA_DST")
    return kernel.Route(
        dst=ipaddress.ip_network(f"{dst}/{message['dst_len']}") if dst else everywhere,
        gateway=ipaddress.ip_address(gateway) if gateway else None,
        priority=message.get_attr("RTA_PRIORITY"),
        table=message.get_attr("RTA_TABLE"),
    )
