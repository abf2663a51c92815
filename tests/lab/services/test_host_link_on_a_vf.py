"""The host link of a pod on a real VF, by the guest's own kernel: both ways, beyond the node, and a NodePort."""

import contextlib
import pathlib
from collections.abc import Iterator

import pytest

from sriov.linux import netns, nftables
from tests.kernel import linked, namespaces
from tests.lab.services import clusters

NODE, ROUTER, FAR = "192.0.2.10", "192.0.2.1", "198.51.100.1"
PROXY = f"""
add table ip proxy
add chain ip proxy prerouting {{ type nat hook prerouting priority -100; }}
add rule ip proxy prerouting ip daddr {NODE} tcp dport 30080 dnat to 10.57.0.3:8080
"""


@pytest.fixture
def world() -> Iterator[namespaces.Namespace]:
    """A host beyond the node, which forwards."""
    forward = pathlib.Path("/proc/sys/net/ipv4/ip_forward")
    before = forward.read_text()
    with namespaces.made("world") as made, netns.own() as home:
        linked.ip(made.name, "link set lo up")
        linked.ip(made.name, f"address add {FAR} dev lo")
        linked.run(f"ip link add uplink9 type veth peer name up0 netns {made.name}")
        linked.ip(made.name, f"address add {ROUTER}/24 dev up0")
        linked.ip(made.name, "link set up0 up")
        for line in (f"address add {NODE}/24 dev uplink9", "link set uplink9 up", f"route add {FAR} via {ROUTER}"):
            linked.run(f"ip {line}")
        forward.write_text("1")
        yield made
        forward.write_text(before)
        linked.run("ip link del uplink9")
        with contextlib.suppress(Exception), netns.entered(home):
            nftables.run("delete table ip proxy")


def test_node_and_pod_reach_each_other_and_what_comes_by_the_host_goes_back_by_it(
    cluster: clusters.Cluster, world: namespaces.Namespace
) -> None:
    with contextlib.ExitStack() as stack, netns.own() as home:
        cluster.add(stack, "linked", hostLink=True, viaHost=["198.51.100.0/24"])
        pod = cluster.pods["linked"].namespace.handle
        own = cluster.pods["linked"].addresses["4"]
        assert linked.seen(pod, own, home) == NODE
        assert linked.seen(home, NODE, pod) == own
        assert linked.seen(world.handle, FAR, pod) == NODE, "masqueraded"
        nftables.run(PROXY)
        assert linked.seen(pod, own, world.handle, to=(NODE, 30080), own=FAR) == FAR, "the client's own address"
        assert linked.conntrack(pod) == 0
        assert [each["ifname"] for each in linked.shown_here("link") if each["ifname"].startswith("svl")]
    assert not [each["ifname"] for each in linked.shown_here("link") if each["ifname"].startswith("svl")]
