"""Beside kube-proxy in its mode IPVS, which tests/kernel/test_beside_kube_proxy.py has no kernel for."""

import subprocess

from tests.kernel import kube_proxy
from tests.lab.services import clusters


def test_a_pod_with_services_passes_ipvs_by_and_keeps_its_address(cluster: clusters.Cluster) -> None:
    """kube-proxy has another backend, so that it shows who has translated."""
    subprocess.run(["modprobe", "-a", "ip_vs", "ip_vs_rr", "dummy"], check=True)
    served, web = (clusters.WEB["4"], 80), cluster.pods["web"].addresses["4"]
    own = {name: cluster.pods[name].addresses["4"] for name in ("client", "dns")}
    cluster.tell(clusters.service(served, (web, clusters.PORT)))
    for name in own:
        kube_proxy.install(kube_proxy.Mode.IPVS, cluster.pods[name].namespace, served, (web, clusters.OTHER))
    seen = {name: cluster.connect(name, served[0]) for name in own}
    for name in own:
        kube_proxy.remove(kube_proxy.Mode.IPVS, cluster.pods[name].namespace)
    assert seen["client"] == clusters.Connected(served[0], own["client"], f"{own['client']} at {clusters.PORT}")
    [without] = [each for each in (seen["dns"],) if isinstance(each, clusters.Connected)]
    assert without.said == f"{own['dns']} at {clusters.OTHER}"
