"""The plan of a host link: names, routes by IP version, and what is refused."""

import ipaddress
import pathlib

import msgspec
import pytest

from sriov import errors
from sriov.linux import kernel
from sriov.state import ledger
from sriov_cni.dataplane import host_link, node_rules
from sriov_cni.spec import host_links
from tests.fakes import memory_kernel, memory_nftables, world

NODE4, NODE6 = map(ipaddress.ip_address, ("192.0.2.10", "2001:db8:2::10"))
POD4, POD6 = map(ipaddress.ip_interface, ("10.1.0.5/24", "2001:db8:1::5/64"))


def link(*via: str, nodes: tuple[kernel.IpAddress, ...] = (NODE4, NODE6), container: str = "c1") -> ledger.HostLink:
    wish = host_links.HostLinkWish("host0", tuple(map(ipaddress.ip_network, via)))
    return host_link.link(container, "net1", wish, nodes)


def test_each_attachment_has_its_own_name_and_always_the_same() -> None:
    one, other = link(), link(container="c2")
    assert one == link()
    assert {one.name, one.address, one.inside_address}.isdisjoint({other.name, other.address, other.inside_address})
    assert len(one.name) == 15
    assert int(one.address[:2], 16) & 3 == int(one.inside_address[:2], 16) & 3 == 2, "unicast, locally administered"


def test_only_versions_that_pod_and_node_have_are_set_up() -> None:
    plan = host_link.plan(link(nodes=(NODE4,)), [POD4, POD6], {})
    assert [each.dst.version for each in (*plan.host.routes, *plan.pod.routes)] == [4, 4, 4]
    assert [each.version for each in plan.pod.rules] == [4]


def test_datagrams_are_remembered_only_where_that_is_asked_for_and_only_of_both_versions() -> None:
    plain = host_link.plan(link(), [POD4, POD6], {}).marking
    asked = msgspec.structs.replace(link(nodes=(NODE4,)), udp=True)
    remembering = host_link.plan(asked, [POD4, POD6], {}).marking
    assert "udp" not in plain
    assert ("@senders4" in remembering, "@senders6" in remembering) == (True, False)


def test_an_address_that_cannot_be_used_yet_is_no_source() -> None:
    plan = host_link.plan(link(), [POD4, POD6], {}, pending=[POD6])
    assert [each.source for each in plan.pod.routes if each.table is None] == [POD4.ip, None]


def test_the_node_sends_from_an_address_of_its_own() -> None:
    foreign = ipaddress.ip_address("127.0.0.1")
    [route] = host_link.plan(link(nodes=(NODE4,)), [POD4], {POD4.ip: foreign}).host.routes
    assert route.source == NODE4


def test_addresses_of_services_are_not_the_nodes() -> None:
    links = [kernel.Link(index, name, "", 1500, True, None, kind=kind) for index, name, kind in
             ((1, "eth0", ""), (2, "kube-ipvs0", "dummy"))]  # fmt: skip
    assert host_link.not_the_nodes(links) == {2}


@pytest.mark.parametrize(
    ("via", "nodes", "named"),
    [
        (["10.0.0.0/8"], (NODE4,), r"viaHost 10\.0\.0\.0/8 overlaps 10\.1\.0\.0/24"),
        (["10.1.0.128/25"], (NODE4,), r"viaHost 10\.1\.0\.128/25 overlaps"),
        (["2001:db8:9::/48"], (NODE4,), r"viaHost 2001:db8:9::/48: pod and node do not both have an IPv6"),
        ([], (NODE6,), r"the node has no address of the pod's IP version, and the pod has 10\.1\.0\.5/24"),
    ],
)
def test_what_cannot_be_routed_is_refused(via: list[str], nodes: tuple[kernel.IpAddress, ...], named: str) -> None:
    with pytest.raises(errors.SettingError, match=named):
        host_link.plan(link(*via, nodes=nodes), [POD4], {})


def test_ranges_of_services_are_routed_as_far_as_the_pod_has_their_version() -> None:
    wish = host_links.HostLinkWish("host0", services=True)
    linked = host_link.link("c1", "net1", wish, (NODE4, NODE6), ("10.96.0.0/12", "fd00:96::/112"))
    routed = {str(each.dst) for each in host_link.plan(linked, [POD4], {}).pod.routes}
    assert routed == {"192.0.2.10/32", "10.96.0.0/12", "0.0.0.0/0"}
    overlapping = host_link.link("c1", "net1", wish, (NODE4,), ("10.1.0.0/16",))
    with pytest.raises(errors.SettingError, match=r"service range 10\.1\.0\.0/16 overlaps 10\.1\.0\.0/24"):
        host_link.plan(overlapping, [POD4], {})


def test_masquerading_is_only_there_for_via_host() -> None:
    assert "masquerade" not in node_rules.commands(frozenset())
    assert "masquerade" in node_rules.commands({"198.51.100.0/24"})


def test_the_nodes_rules_are_installed_once_for_all_pods(folder: pathlib.Path) -> None:
    machine = world.World(folder)
    installed = machine.nft.setdefault(machine.home.identity, memory_nftables.Ruleset())
    known: set[str] = set()

    def ensure(*wanted: str, recorded: tuple[str, ...] = ()) -> int:
        with memory_kernel.opener(machine)() as net:
            node_rules.ensure(net, known, wanted, lambda: recorded)
        return len(installed.told)

    assert [ensure(), ensure(), ensure("10.0.0.0/8"), ensure(), ensure("10.0.0.0/8")] == [1, 1, 2, 2, 2]
    known.clear()  # the next daemon
    assert ensure("192.0.2.0/24", recorded=("10.0.0.0/8",)) == 3
    assert [ensure("10.0.0.0/8"), ensure()] == [3, 3]
    installed.flush()
    assert ensure() == 1
    assert "10.0.0.0/8" in installed.told[0]
    assert "192.0.2.0/24" in installed.told[0]
    machine.close()
