"""Table of Services as one node sees them: each frontend with the backends that this node sends to. Pure.

Everything that Kubernetes says of a Service is decided before this: topology hints, traffic policies, endpoints that
terminate. What is left is what a node can act on without knowing Kubernetes.
"""

import enum
import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from sriov import errors

MOST_BACKENDS = 1 << 16
AFFINITY = range(86401)
"""Seconds of sessionAffinityConfig.clientIP.timeoutSeconds; 0 is none (core/v1, ServiceAffinity)."""

_REMEDY = "the agent sent it; its log says from what it was made"


class Protocol(enum.StrEnum):
    """What a socket can be translated for. SCTP is not: no cgroup program sees its connect."""

    TCP = "TCP"
    UDP = "UDP"


class Endpoint(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """`address` is an IPv4 or IPv6 address as `ipaddress` writes it; `port` is 1 to 65535."""

    address: str
    port: int


class Frontend(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Where a pod sends to: a ClusterIP, an external address, a load balancer's, or an address of the node."""

    address: str
    port: int
    protocol: Protocol


class Service(msgspec.Struct, frozen=True, array_like=True):
    """One frontend. Without backends its connections are refused. `affinity`: seconds that a pod keeps its backend."""

    frontend: Frontend
    backends: tuple[Endpoint, ...] = ()
    affinity: int = 0


class TableChange(msgspec.Struct, frozen=True):
    """Services that are new or other than before, and frontends that are gone. With `whole`, all else is gone too.

    `ranges`: the networks that the cluster takes ClusterIPs from; None if they are as before.
    """

    services: tuple[Service, ...] = ()
    gone: tuple[Frontend, ...] = ()
    whole: bool = False
    ranges: tuple[str, ...] | None = None


Table = Mapping[Frontend, Service]


def difference(old: Table, new: Table) -> TableChange:
    """Return what turns `old` into `new`."""
    return TableChange(
        tuple(service for frontend, service in new.items() if old.get(frontend) != service),
        tuple(frontend for frontend in old if frontend not in new),
    )


def applied(table: Table, change: TableChange) -> dict[Frontend, Service]:
    """Return the table after the change."""
    kept = {} if change.whole else dict(table)
    for frontend in change.gone:
        kept.pop(frontend, None)
    return kept | {service.frontend: service for service in change.services}


def check(change: TableChange) -> None:
    """Raises SriovError, which names the value, if somebody sends what no cluster has."""
    _unique(service.frontend for service in change.services)
    for frontend in change.gone:
        _check_endpoint(frontend)
    for service in change.services:
        _check(service)
    for network in change.ranges or ():
        _check_range(network)


def _check(service: Service) -> None:
    _check_endpoint(service.frontend)
    if service.affinity not in AFFINITY:
        raise _wrong(service.frontend, f"affinity {service.affinity} is not 0 to {AFFINITY[-1]} seconds")
    if len(service.backends) > MOST_BACKENDS:
        raise _wrong(service.frontend, f"{len(service.backends)} backends are more than {MOST_BACKENDS}")
    version = _check_endpoint(service.frontend)
    for backend in service.backends:
        if _check_endpoint(backend) != version:
            raise _wrong(service.frontend, f"backend {backend.address} is of another IP version")


def _check_endpoint(endpoint: Frontend | Endpoint) -> int:
    """Return the IP version."""
    try:
        address = ipaddress.ip_address(endpoint.address)
    except ValueError as error:
        raise _wrong(endpoint, f"{endpoint.address!r} is no IP address") from error
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise _wrong(endpoint, f"{endpoint.address!r} is the IPv4 address {address.ipv4_mapped}")
    if str(address) != endpoint.address or "%" in endpoint.address:
        raise _wrong(endpoint, f"{endpoint.address!r} is written {address}")
    if not 1 <= endpoint.port <= 65535:
        raise _wrong(endpoint, f"port {endpoint.port} is not 1 to 65535")
    return address.version


def _check_range(network: str) -> None:
    try:
        whole = str(ipaddress.ip_network(network)) == network and "%" not in network
    except ValueError:
        whole = False
    if not whole:
        raise errors.SriovError(f"Service table: range {network!r} is no network", _REMEDY)


def _unique(frontends: Iterable[Frontend]) -> None:
    seen: set[Frontend] = set()
    for frontend in frontends:
        if frontend in seen:
            raise _wrong(frontend, "it comes twice in one change")
        seen.add(frontend)


def _wrong(where: Frontend | Endpoint, why: str) -> errors.SriovError:
    return errors.SriovError(
        f"Service table: {where.address}, port {where.port}: {why}",
        _REMEDY,
    )
