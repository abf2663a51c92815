"""Routes as pyroute2's messages have them: one to be added, and one that the kernel shows. Pure; part of netlink."""

import ipaddress
import socket
from typing import Any

from sriov import kernel

# include/uapi/linux/rtnetlink.h
_MAIN, _STATIC, _UNICAST = 254, 4, 1  # RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST
_ON_LINK = 253  # RT_SCOPE_LINK: a destination without a gateway


def _family(network: kernel.IpNetwork) -> int:
    return socket.AF_INET if network.version == 4 else socket.AF_INET6


def request(index: int, route: kernel.Route) -> tuple[dict[str, int], list[tuple[str, Any]]]:
    """Fields and attributes of a message that adds the route to a link."""
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
    }
    every = {
        "RTA_DST": str(route.dst.network_address) if route.dst.prefixlen else None,
        "RTA_GATEWAY": str(route.gateway) if route.gateway is not None else None,
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


def is_unicast(message: Any) -> bool:
    return bool(message["type"] == _UNICAST)


def shown(message: Any) -> kernel.Route:
    """A route as the kernel lists it."""
    everywhere = kernel.EVERYWHERE_4 if message["family"] == socket.AF_INET else kernel.EVERYWHERE_6
    dst, gateway = message.get_attr("RTA_DST"), message.get_attr("RTA_GATEWAY")
    return kernel.Route(
        dst=ipaddress.ip_network(f"{dst}/{message['dst_len']}") if dst else everywhere,
        gateway=ipaddress.ip_address(gateway) if gateway else None,
        priority=message.get_attr("RTA_PRIORITY"),
        table=message.get_attr("RTA_TABLE"),
    )
