"""Routes as pyroute2 has them: one to be added, and one that the kernel shows. Pure; part of netlink."""

import ipaddress
import socket
from typing import Any

from sriov import kernel


def _family(network: kernel.IpNetwork) -> int:
    return socket.AF_INET if network.version == 4 else socket.AF_INET6


def request(route: kernel.Route) -> dict[str, Any]:
    """The route as pyroute2's arguments, without its link."""
    request: dict[str, Any] = {"dst": str(route.dst), "family": _family(route.dst)}
    optional = {"priority": route.priority, "table": route.table, "scope": route.scope}
    request.update({key: value for key, value in optional.items() if value is not None})
    if route.gateway is not None:
        request["gateway"] = str(route.gateway)
    elif route.scope is None and route.dst.version == 4:
        request["scope"] = 253  # RT_SCOPE_LINK: an on-link destination
    metrics = {key: value for key, value in {"mtu": route.mtu, "advmss": route.advmss}.items() if value is not None}
    if metrics:
        request["metrics"] = metrics
    return request


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
