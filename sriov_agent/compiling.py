"""Compiling of a Service: what Kubernetes says of it becomes frontends with the backends that this node sends to. Pure.

The rules are kube-proxy's for traffic from a pod of this node: pkg/proxy/serviceport.go, pkg/proxy/util/utils.go
(ShouldSkipService, IsVIPMode), cmd/kube-proxy/app/server.go (labels), pkg/proxy/topology.go.
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence

from sriov.cluster import services
from sriov_agent import endpoints, objects

_AFFINITY = (
    10800  # seconds of sessionAffinity ClientIP without a timeout (core/v1, DefaultClientIPServiceAffinitySeconds)
)
_PROTOCOLS = {each.value: each for each in services.Protocol}

Complain = Callable[[str], None]


def compiled(
    service: objects.ServiceObject, slices: Sequence[endpoints.CompactSlice], here: endpoints.Here, complain: Complain
) -> Iterator[services.Service]:
    """Yield the Service's frontends, each once. What cannot be translated is left out, and `complain` is called."""
    if is_skipped(service):
        return
    seen: set[services.Frontend] = set()
    for port in service.spec.ports:
        if port.protocol not in _PROTOCOLS:
            complain(f"Service {_name(service)}: port {port.port} is {port.protocol}, which needs `services: host`")
            continue
        for each in _of_port(service, port, slices, here, complain):
            if each.frontend not in seen:
                seen.add(each.frontend)
                yield each


def is_skipped(service: objects.ServiceObject) -> bool:
    spec = service.spec
    return spec.type == "ExternalName" or spec.cluster_ip in ("", "None") or labelled(service.metadata)


def labelled(metadata: objects.Metadata) -> bool:
    """Report whether a label says that it is another proxy's or nobody's, whatever its value is."""
    return metadata.labels.proxy_name is not None or metadata.labels.headless is not None


def _of_port(
    service: objects.ServiceObject,
    port: objects.ServicePort,
    slices: Sequence[endpoints.CompactSlice],
    here: endpoints.Here,
    complain: Complain,
) -> Iterator[services.Service]:
    inside, outside = (_addresses(service, each, complain) for each in (_inside(service), _outside(service, complain)))
    on_node = [found for each in here.addresses if port.node_port and (found := endpoints.parsed(each))]
    protocol, affinity = _PROTOCOLS[port.protocol], _affinity(service.spec)
    for version in (4, 6):
        ported = endpoints.of_port(slices, version, port.name, port.protocol)
        cluster = _backends(endpoints.for_cluster(ported, here))
        is_local = service.spec.internal_traffic_policy == "Local"
        own = _backends(endpoints.for_local(ported, here)) if is_local else cluster
        # A pod that sends to an address from outside is not outside: externalTrafficPolicy Local does not hold for it
        # (pkg/proxy/serviceport.go, UsesClusterEndpoints: "short circuiting").
        for addresses, number, backends in (
            (inside, port.port, own), (outside, port.port, cluster), (on_node, port.node_port, cluster),
        ):  # fmt: skip
            for address in addresses:
                if address.version == version:
                    yield services.Service(services.Frontend(str(address), number, protocol), backends, affinity)


def cluster_ips(service: objects.ServiceObject) -> set[str]:
    """Return the Service's own addresses, as frontends have them."""
    return {str(found) for each in _inside(service) if (found := endpoints.parsed(each)) is not None}


def _inside(service: objects.ServiceObject) -> tuple[str, ...]:
    return service.spec.cluster_ips or (service.spec.cluster_ip,)


def _outside(service: objects.ServiceObject, complain: Complain) -> Iterator[str]:
    """Yield external addresses, and a load balancer's unless it has to see the traffic itself."""
    yield from service.spec.external_ips
    found = [each.ip for each in service.status.load_balancer.ingress if each.ip and each.ip_mode == "VIP"]
    if found and service.spec.load_balancer_source_ranges:
        complain(
            f"Service {_name(service)}: loadBalancerSourceRanges is set, so its load balancer's addresses"
            f" ({', '.join(found)}) are not translated: who may come is decided there"
        )
    else:
        yield from found


def _backends(ported: endpoints.Ported) -> tuple[services.Endpoint, ...]:
    return tuple(sorted(services.Endpoint(endpoint.address, number) for endpoint, number in ported))


def _affinity(spec: objects.ServiceSpec) -> int:
    if spec.session_affinity != "ClientIP":
        return 0
    config = spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config else None
    return _AFFINITY if seconds is None else min(max(seconds, 0), services.AFFINITY[-1])


def _addresses(
    service: objects.ServiceObject, texts: Iterable[str], complain: Complain
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    found = {text: endpoints.parsed(text) for text in texts}
    for text in (text for text, address in found.items() if address is None):
        complain(f"Service {_name(service)}: {text!r} is no IP address; left out, the rest is used")
    return [address for address in found.values() if address is not None]


def _name(service: objects.ServiceObject) -> str:
    return f"{service.metadata.namespace}/{service.metadata.name}"
