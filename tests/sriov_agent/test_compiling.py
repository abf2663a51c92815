"""Kubernetes objects become the table of a node, by kube-proxy's rules; each case names where the rule is.

Paths are of kubernetes/kubernetes.
"""

from typing import Any

import pytest

from sriov.cluster import services
from sriov_agent import objects, view
from tests.sriov_agent import cluster
from tests.sriov_agent.cluster import Json, endpoint, endpoint_slice, service

TWO = endpoint_slice(endpoint("10.1.0.1"), endpoint("10.1.0.2", node=cluster.NODE))
BOTH = ["10.1.0.1:8080", "10.1.0.2:8080"]
IPV6 = endpoint_slice(endpoint("fd00::1"), name="web-6", addressType="IPv6")
AT = "10.96.0.1:80/TCP"
ADDRESSES = (
    ("InternalIP", "192.0.2.1"),
    ("ExternalIP", "203.0.113.1"),
    ("Hostname", "here"),
    ("InternalIP", "fd01::1"),
)
CLIENT_IP = {"sessionAffinity": "ClientIP"}


def seen(*told: Json) -> tuple[view.View, list[str]]:
    """A view of these objects, and what it complains of."""
    complaints: list[str] = []
    made = view.View(cluster.NODE, complaints.append)
    for each in told:
        made.put(cluster.decoded(each))
    return made, complaints


def table(*told: Json) -> dict[str, list[str]]:
    made, _ = seen(*told)
    change = made.change()
    services.check(change)
    assert {each.frontend for each in change.services} == set(made.table)
    return shown(made.table)


def shown(found: services.Table) -> dict[str, list[str]]:
    return {
        f"{_at(frontend)}/{frontend.protocol}": [_at(each) for each in one.backends] for frontend, one in found.items()
    }


def _at(place: services.Frontend | services.Endpoint) -> str:
    return f"[{place.address}]:{place.port}" if ":" in place.address else f"{place.address}:{place.port}"


def zoned(*zones: str, **more: Any) -> Json:
    """A slice whose endpoints 10.1.0.1, 10.1.0.2, … are for these zones; "" has no hint."""
    hints: list[Json] = [{"zones": [each]} if each else {} for each in zones]
    return endpoint_slice(*(endpoint(f"10.1.0.{number}", **hint) for number, hint in enumerate(hints, 1)), **more)


def noded(*nodes: str, zones: bool = False) -> Json:
    hints: list[Json] = [{"nodes": [each]} if each else {} for each in nodes]
    both: Json = {"zones": ["east"]} if zones else {}
    return endpoint_slice(*(endpoint(f"10.1.0.{number}", **hint, **both) for number, hint in enumerate(hints, 1)))


EAST = cluster.node(zone="east")

CASES: dict[str, tuple[list[Json], dict[str, list[str]]]] = {
    "a ClusterIP has all ready endpoints": ([service(), TWO], {AT: BOTH}),
    "both versions of a dual-stack Service, each with its endpoints (pkg/proxy/serviceport.go, newBaseServiceInfo)": (
        [service(clusterIPs=["10.96.0.1", "fd96::1"]), TWO, IPV6], {AT: BOTH, "[fd96::1]:80/TCP": ["[fd00::1]:8080"]},
    ),
    "a Service of IPv6 alone": (
        [service(clusterIP="fd96::1"), TWO, IPV6], {"[fd96::1]:80/TCP": ["[fd00::1]:8080"]},
    ),
    "an address is written one way": (
        [service(clusterIP="fd96:0::1"), endpoint_slice(endpoint("fd00:0:0::01"), addressType="IPv6")],
        {"[fd96::1]:80/TCP": ["[fd00::1]:8080"]},
    ),
    "external addresses, with the Service's port": (
        [service(externalIPs=["198.51.100.7"]), TWO], {AT: BOTH, "198.51.100.7:80/TCP": BOTH},
    ),
    "a load balancer's address; not one that wants to see the traffic (pkg/proxy/util/utils.go, IsVIPMode)": (
        [
            service(status={"loadBalancer": {"ingress": [
                {"ip": "198.51.100.8"}, {"ip": "198.51.100.9", "ipMode": "Proxy"}, {"hostname": "lb.example"},
                {"ip": "198.51.100.10", "ipMode": "VIP"},
            ]}}), TWO,
        ],
        {AT: BOTH, "198.51.100.8:80/TCP": BOTH, "198.51.100.10:80/TCP": BOTH},
    ),
    "not a load balancer's that asks who comes (pkg/proxy/iptables/proxier.go, LoadBalancerSourceRanges)": (
        [service(
            loadBalancerSourceRanges=["10.0.0.0/8"], status={"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}]}},
        ), TWO],
        {AT: BOTH},
    ),
    "one address that comes twice": (
        [service(externalIPs=["198.51.100.7"], status={"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}}), TWO],
        {AT: BOTH, "198.51.100.7:80/TCP": BOTH},
    ),
    "a NodePort is at the node's own addresses, inside and outside": (
        [cluster.node(*ADDRESSES), service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}]), TWO],
        {AT: BOTH, "192.0.2.1:30080/TCP": BOTH, "203.0.113.1:30080/TCP": BOTH, "[fd01::1]:30080/TCP": []},
    ),
    "a NodePort is not at another node's addresses": (
        [cluster.node(*ADDRESSES, name=cluster.OTHER), service(ports=[{"port": 80, "nodePort": 30080}]), TWO],
        {AT: BOTH},
    ),
    "internalTrafficPolicy Local: this node's endpoints (pkg/proxy/topology.go, localEndpoints)": (
        [service(internalTrafficPolicy="Local"), TWO], {AT: ["10.1.0.2:8080"]},
    ),
    "internalTrafficPolicy Local without endpoints here: refused": (
        [service(internalTrafficPolicy="Local"), endpoint_slice(endpoint())], {AT: []},
    ),
    "internalTrafficPolicy Local falls back to what ends here (topology.go, useServingTerminatingEndpoints)": (
        [service(internalTrafficPolicy="Local"), endpoint_slice(
            endpoint("10.1.0.1"),
            endpoint("10.1.0.2", node=cluster.NODE, ready=False, serving=True, terminating=True),
        )],
        {AT: ["10.1.0.2:8080"]},
    ),
    "internalTrafficPolicy says nothing of addresses from outside (pkg/proxy/serviceport.go, UsesClusterEndpoints)": (
        [service(internalTrafficPolicy="Local", externalIPs=["198.51.100.7"]), TWO],
        {AT: ["10.1.0.2:8080"], "198.51.100.7:80/TCP": BOTH},
    ),
    "externalTrafficPolicy Local does not hold for a pod (serviceport.go, UsesClusterEndpoints: short circuit)": (
        [cluster.node(*ADDRESSES[:1]), service(
            externalTrafficPolicy="Local", externalIPs=["198.51.100.7"], ports=[{"port": 80, "nodePort": 30080}],
            status={"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}]}},
        ), endpoint_slice(endpoint())],
        {each: ["10.1.0.1:8080"] for each in (AT, "198.51.100.7:80/TCP", "198.51.100.8:80/TCP", "192.0.2.1:30080/TCP")},
    ),
    "hints: the zone's endpoints (pkg/proxy/topology.go, topologyModeFromHints)": (
        [EAST, service(), zoned("east", "west", "east")], {AT: ["10.1.0.1:8080", "10.1.0.3:8080"]},
    ),
    "hints count only if all ready endpoints have one (topologyModeFromHints)": (
        [EAST, service(), zoned("east", "")], {AT: BOTH},
    ),
    "hints of an endpoint that is not ready are not missed (topologyModeFromHints)": (
        [EAST, service(), endpoint_slice(
            endpoint("10.1.0.1", zones=["east"]), endpoint("10.1.0.2", ready=False),
            endpoint("10.1.0.3", zones=["west"]),
        )],
        {AT: ["10.1.0.1:8080"]},
    ),
    "hints count only if one is for this zone (topologyModeFromHints)": (
        [EAST, service(), zoned("west", "south")], {AT: BOTH},
    ),
    "hints do not count on a node without a zone (topologyModeFromHints)": (
        [cluster.node(), service(), zoned("east", "west")], {AT: BOTH},
    ),
    "hints for nodes come first (topologyModeFromHints, PreferSameNode)": (
        [EAST, service(), noded(cluster.NODE, cluster.OTHER, zones=True)], {AT: ["10.1.0.1:8080"]},
    ),
    "hints for other nodes leave those for zones (topologyModeFromHints)": (
        [EAST, service(), noded(cluster.OTHER, cluster.OTHER, zones=True)], {AT: BOTH},
    ),
    "hints for nodes count only if all have one (topologyModeFromHints)": (
        [EAST, service(), noded(cluster.NODE, "")], {AT: BOTH},
    ),
    "conditions that are not given: ready (pkg/proxy/endpointslicecache.go, newEndpointSliceInfo)": (
        [service(), endpoint_slice({"addresses": ["10.1.0.1"]})], {AT: ["10.1.0.1:8080"]},
    ),
    "an endpoint that is not ready is not used": (
        [service(), endpoint_slice(endpoint("10.1.0.1", ready=False), endpoint("10.1.0.2"))], {AT: ["10.1.0.2:8080"]},
    ),
    "endpoints that end are the last resort (pkg/proxy/topology.go, CategorizeEndpoints; KEP-1669)": (
        [service(), endpoint_slice(
            endpoint("10.1.0.1", ready=False, serving=True, terminating=True),
            endpoint("10.1.0.2", ready=False, serving=False, terminating=True),
            endpoint("10.1.0.3", ready=False, serving=True),
        )],
        {AT: ["10.1.0.1:8080"]},
    ),
    "endpoints that end are not used beside a ready one (CategorizeEndpoints)": (
        [service(), endpoint_slice(
            endpoint("10.1.0.1", ready=False, serving=True, terminating=True), endpoint("10.1.0.2"),
        )],
        {AT: ["10.1.0.2:8080"]},
    ),
    "publishNotReadyAddresses: the slice says ready (pkg/controller: staging endpointslice, reconciler)": (
        [service(publishNotReadyAddresses=True), endpoint_slice(endpoint(ready=True, serving=False))],
        {AT: ["10.1.0.1:8080"]},
    ),
    "ports by name and protocol (pkg/proxy/endpointslicecache.go, endpointInfoByServicePort)": (
        [
            service(ports=[{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]),
            endpoint_slice(endpoint(), ports=[
                {"name": "dns", "protocol": "UDP", "port": 1053}, {"name": "dns-tcp", "protocol": "TCP", "port": 1054},
                {"name": "metrics", "protocol": "TCP", "port": 9153},
            ]),
        ],
        {"10.96.0.1:53/UDP": ["10.1.0.1:1053"], "10.96.0.1:53/TCP": ["10.1.0.1:1054"]},
    ),
    "a named target port may be another number in each slice": (
        [service(), endpoint_slice(endpoint()), endpoint_slice(endpoint("10.1.0.2"), name="web-2", port=9090)],
        {AT: ["10.1.0.1:8080", "10.1.0.2:9090"]},
    ),
    "an endpoint that two slices have comes once (addEndpoints: deduplicating)": (
        [service(), TWO, endpoint_slice(endpoint("10.1.0.1"), name="web-2")], {AT: BOTH},
    ),
    "no slice: refused": ([service()], {AT: []}),
    "an endpoint's second address is nobody's (addEndpoints: Addresses[0])": (
        [service(), endpoint_slice(endpoint() | {"addresses": ["10.1.0.1", "10.1.0.9"]})], {AT: ["10.1.0.1:8080"]},
    ),
    "headless: nothing (pkg/proxy/util/utils.go, ShouldSkipService)": ([service(clusterIP="None"), TWO], {}),
    "no address yet: nothing": ([service(clusterIP="", clusterIPs=[]), TWO], {}),
    "ExternalName: nothing (ShouldSkipService)": (
        [service(type="ExternalName", clusterIP="", clusterIPs=[], externalName="x.example")], {},
    ),
    "another proxy's: nothing, whatever the value (cmd/kube-proxy/app/server.go, noProxyName)": (
        [service(labels={"service.kubernetes.io/service-proxy-name": ""}), TWO], {},
    ),
    "labelled headless: nothing (cmd/kube-proxy/app/server.go, noHeadlessEndpoints)": (
        [service(labels={"service.kubernetes.io/headless": ""}), TWO], {},
    ),
    "a slice that is labelled so: passed over": (
        [service(), endpoint_slice(endpoint(), labels={"service.kubernetes.io/headless": ""})], {AT: []},
    ),
    "a slice of nobody: passed over (endpointSliceCacheKeys)": (
        [service(), endpoint_slice(endpoint(), of="")], {AT: []},
    ),
    "a slice of names: passed over": (
        [service(), endpoint_slice(endpoint("web.example"), addressType="FQDN"), TWO | {"metadata": {
            "name": "web-2", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}}}], {AT: BOTH},
    ),
    "SCTP is left out, the rest is kept": (
        [service(ports=[{"name": "s", "port": 5000, "protocol": "SCTP"}, {"name": "", "port": 80}]), TWO], {AT: BOTH},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_service_becomes_what_kube_proxy_makes_of_it(name: str) -> None:
    told, expected = CASES[name]
    assert table(*told) == expected
    assert table(*reversed(told)) == expected, "whatever comes first"


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 0),
        ({"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 9}}}, 0),
        ({**CLIENT_IP, "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90}}}, 90),
        (CLIENT_IP, 10800),
    ],
)
def test_affinity_has_its_timeout(spec: Json, seconds: int) -> None:
    made, _ = seen(service(**spec), TWO)
    assert [each.affinity for each in made.change().services] == [seconds]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            endpoint_slice(endpoint("10.1.0.256"), endpoint()),
            "EndpointSlice default/web-1: address '10.1.0.256' is no IPv4",
        ),
        (endpoint_slice(endpoint("fd00::1"), endpoint()), "EndpointSlice default/web-1: address 'fd00::1' is no IPv4"),
        (
            endpoint_slice(endpoint() | {"addresses": []}, endpoint()),
            "EndpointSlice default/web-1: address '' is no IPv4",
        ),
        (
            endpoint_slice(endpoint(), ports=[{"name": "x", "protocol": "TCP"}, {"name": "", "port": 8080}]),
            "EndpointSlice default/web-1: port 'x' has the number None",
        ),
    ],
)
def test_a_slice_that_contradicts_itself_is_named_and_the_rest_is_used(wrong: Json, words: str) -> None:
    made, complaints = seen(service(), wrong)
    made.change()
    assert shown(made.table) == {AT: ["10.1.0.1:8080"]}
    [said] = complaints
    assert said.startswith(words)


@pytest.mark.parametrize("text", ["10.96.0.1", "::ffff:10.96.0.1", "::ffff:a60:1"])
def test_nobody_takes_a_cluster_ip_from_its_service(text: str) -> None:
    """Whatever the other one's name is, in whatever way it writes the address, and whichever comes first."""
    thief = service("a-thief", clusterIP="10.96.0.66", externalIPs=[text], ports=[{"port": 80}])
    thief["metadata"]["namespace"] = "aaa"
    for told in ([service(), TWO, thief], [thief, service(), TWO]):
        made, complaints = seen(*told)
        made.change()
        assert shown(made.table)[AT] == BOTH
        assert len({each.address for each in made.table}) == 2
        assert "10.96.0.1, port 80 TCP is claimed by Services aaa/a-thief and default/web" in complaints[0]
        made.remove(objects.ServiceObject, ("aaa", "a-thief"))
        changed = made.change()
        assert [each.address for each in changed.gone] == ["10.96.0.66"]
        assert shown(made.table) == {AT: BOTH}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (CASES["SCTP is left out, the rest is kept"][0], "port 5000 is SCTP, which needs `services: host`"),
        ([service(externalIPs=["198.51.100.300"]), TWO], "'198.51.100.300' is no IP address"),
    ],
)
def test_what_is_left_out_of_a_service_is_said(told: list[Json], words: str) -> None:
    made, complaints = seen(*told)
    made.change()
    assert (shown(made.table), [words in each for each in complaints]) == ({AT: BOTH}, [True])
