"""Addresses and routes: messages that add them, and the kernel's lists of them as pyroute2 has them. Pure.

Part of netlink. The message that adds an address is encoded by hand, since every pod waits for it: pyroute2 takes
0.2 ms of CPU for it. Attributes: include/uapi/linux/if_addr.h.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from typing import Any

from sriov.linux import kernel, nlsocket

# include/uapi/linux/rtnetlink.h
_MAIN, _STATIC, _UNICAST = 254, 4, 1  # RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST
_ONLINK_FLAG = 4  # RTNH_F_ONLINK
_ON_LINK = 253  # RT_SCOPE_LINK: a destination without a gateway


_POINT_TO_POINT_4 = 31  # prefix length from which on a network has no broadcast address (RFC 3021)


_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4


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


def interface(message: Any) -> kernel.IpInterface:
    """Read an address from the kernel's list."""
    found = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return ipaddress.ip_interface(f"{found}/{message['prefixlen']}")


def _family(network: kernel.IpNetwork) -> int:
    return socket.AF_INET if network.version == 4 else socket.AF_INET6


def request(index: int, route: kernel.Route) -> tuple[dict[str, int], list[tuple[str, Any]]]:
    """Return fields and attributes of a message that adds the route to a link."""
    scope, table = route.scope, route.table or _MAIN
    if scope is None:
        scope = _ON_LINK if route.gateway is None and route.dst.version == 4 else 0
    fields = {
        "family": _family(route.dst),
        "dst_len": route.dst.prefixlen,
        "table": table if table < 256 else 0,
        "proto": _STATIC,
        "scope": scope,
        "type": _UNICAST,
        "flags": _ONLINK_FLAG if route.onlink else 0,
    }
    every = {
        "RTA_DST": str(route.dst.network_address) if route.dst.prefixlen else None,
        "RTA_GATEWAY": str(route.gateway) if route.gateway is not None else None,
        "RTA_PREFSRC": str(route.source) if route.source is not None else None,
        "RTA_PRIORITY": route.priority,
        "RTA_METRICS": _metrics(route),
        "RTA_TABLE": table,
        "RTA_OIF": index,
    }
    return fields, [(name, value) for name, value in every.items() if value is not None]


def _metrics(route: kernel.Route) -> dict[str, Any] | None:
    every = (("RTAX_MTU", route.mtu), ("RTAX_ADVMSS", route.advmss))
    asked = [each for each in every if each[1] is not None]
    return {"attrs": asked} if asked else None


def lookup(destination: kernel.IpAddress) -> tuple[dict[str, int], list[tuple[str, Any]]]:
    """Return fields and attributes of a message that asks for the route to one address."""
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    return {"family": family, "dst_len": destination.max_prefixlen}, [("RTA_DST", str(destination))]


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
