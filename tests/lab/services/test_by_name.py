"""A pod whose only network is an igbvf VF reaches a ClusterIP by its name, as in a cluster, from its own address."""

import pytest

from sriov.cluster.services import Frontend, Protocol, Service
from tests.lab.services import clusters

USE_TCP = {Protocol.UDP: (), Protocol.TCP: ("use-vc",)}
"""Options of resolv.conf(5)."""


@pytest.mark.parametrize("version", ["4", "6"])
@pytest.mark.parametrize("protocol", Protocol)
def test_a_name_leads_to_the_backend_which_sees_the_pods_own_address(
    cluster: clusters.Cluster, version: str, protocol: Protocol
) -> None:
    """kube-dns is there for one protocol alone, so that the name can have come by no other."""
    pod, dns, web = (cluster.pods[name].addresses[version] for name in ("client", "dns", "web"))
    asking, serving = (clusters.DNS[version], clusters.NAME_PORT), (clusters.WEB[version], 80)
    cluster.tell(
        clusters.service(asking, (dns, clusters.NAME_PORT), protocol), clusters.service(serving, (web, clusters.PORT))
    )
    cluster.resolve_by("client", *USE_TCP[protocol], server=clusters.DNS[version])
    name = {"4": "web", "6": "web6"}[version]
    before = len(cluster.asked())
    assert cluster.connect("client", name) == clusters.Connected(
        clusters.WEB[version], pod, f"{pod} at {clusters.PORT}"
    )
    assert f"{name}.{clusters.DOMAIN} from {pod}" in cluster.asked()[before:]


def test_what_is_refused_what_is_its_own_and_what_is_no_service(cluster: clusters.Cluster) -> None:
    web, served = cluster.pods["web"].addresses["4"], clusters.WEB["4"]
    cluster.tell(Service(Frontend(served, 80, Protocol.TCP)))
    assert cluster.connect("client", served) == "ConnectionRefusedError", "it has no backends"
    pod = cluster.pods["client"].addresses["4"]
    seen = f"{pod} at {clusters.PORT}"
    assert cluster.connect("client", web, clusters.PORT) == clusters.Connected(web, pod, seen)
    cluster.tell(clusters.service((served, 80), (web, clusters.PORT)))
    assert cluster.connect("client", served) == clusters.Connected(served, pod, seen)
    assert cluster.connect("dns", served) == "OSError", "it is a pod without Services, and has no route there"
