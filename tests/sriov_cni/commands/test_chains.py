"""Other plugins before and behind us: prevResult, DNS, and what CHECK leaves to them."""

import ipaddress
import json

import pytest

from sriov.linux import kernel
from tests.sriov_cni import harness
from tests.sriov_cni.conftest import CniNode

BEFORE = {"cniVersion": "0.4.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/x"}]}


@pytest.mark.parametrize("version", ["0.4.0", "1.1.0"])
@pytest.mark.parametrize(
    ("malformed", "says"),
    [
        (17, "not a CNI result"),
        ("interfaces", "not a CNI result"),
        ([], "not a CNI result"),
        ({"interfaces": {"name": "eth0"}}, "interfaces"),
        ({"ips": [{"address": "10.9.0.2"}, {"address": "10.9.0.300/24"}]}, "10.9.0.300/24"),
        ({"ips": [{"address": "10.9.0.2/24", "interface": "0"}]}, "interface"),
        ({"ips": [{"address": "10.9.0.2/24", "gateway": "nowhere"}]}, "nowhere"),
        ({"routes": [{"dst": "everywhere"}]}, "everywhere"),
        ({"dns": {"nameservers": "10.9.0.1"}}, "nameservers"),
    ],
)
def test_c28_a_malformed_prev_result_changes_nothing(cni: CniNode, version: str, malformed: object, says: str) -> None:
    before = cni.bench.machine.snapshot()
    network = cni.conf(cniVersion=version, ipam={"type": "fixed"}, prevResult=malformed)
    for command in ("ADD", "CHECK"):
        answer = cni.client.call(command, network)
        assert (answer.code, says in answer.message) == (6, True), answer
    assert cni.bench.machine.snapshot() == before
    assert harness.ipam_calls(cni.plugins, "fixed") == []


@pytest.mark.parametrize(("named", "says"), [("7.0.0", "cniVersion '7.0.0'"), (1, "cniVersion 1")])
def test_c28_what_is_passed_on_is_of_a_known_version(cni: CniNode, named: object, says: str) -> None:
    """ADD alone passes it on; CHECK looks into it, whatever its version."""
    network = cni.conf(prevResult={"cniVersion": named})
    answer = cni.client.call("ADD", network)
    assert (answer.code, says in answer.message) == (6, True), answer
    assert cni.client.call("CHECK", network).code == 101, "not in the ledger"


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
@pytest.mark.parametrize("inner", ["", "0.4.0", None])
def test_c28_a_prev_result_speaks_the_configurations_version(cni: CniNode, version: str, inner: str | None) -> None:
    """It may say another that is known, or none: the answer says the configuration's."""
    previous: dict[str, object] = {**BEFORE, "ips": [{"version": "4", "address": "10.9.0.2/24", "interface": 0}]}
    previous["cniVersion"] = inner
    document = cni.client.call("ADD", cni.conf(cniVersion=version, prevResult=previous)).document
    assert document["cniVersion"] == version
    assert [each["name"] for each in document["interfaces"]] == ["eth0", "net1"]
    assert document["ips"][0].get("version") == (None if version == "1.0.0" else "4")


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_what_plugins_before_us_say_is_passed_on_as_it_came(cni: CniNode, version: str) -> None:
    """What our version of the specification does not know, and no version does, too."""
    socket = {"name": "memif0", "sandbox": cni.client.netns, "socketPath": "/run/memif.sock", "mtu": 9000}
    previous: dict[str, object] = {
        "cniVersion": version,
        "interfaces": [socket, {"name": "eth0", "mac": "", "metadata": {"rail": "a"}}],
        "ips": [{"address": "10.9.0.2/24", "interface": 1, "lifetime": 60}],
        "routes": [{"dst": "10.8.0.0/16", "gw": "10.9.0.1", "mtu": 1400, "onlink": True}],
        "dns": {"nameservers": ["10.9.0.53"], "port": 53},
        "x-other": {"a": 1},
    }
    network = cni.conf(cniVersion=version, ipam={"type": "fixed"}, prevResult=previous)
    document = cni.client.call("ADD", network).document
    ours = document["interfaces"].pop()
    assert (ours["name"], set(ours) > {"name", "mac", "sandbox"}) == ("net1", version == "1.1.0")
    assert document["ips"].pop() == {"address": "10.1.0.5/24", "gateway": "10.1.0.1", "interface": 2} | (
        {"version": "4"} if version == "0.4.0" else {}
    )
    assert document["routes"].pop() == {"dst": "0.0.0.0/0"}
    assert document["ips"][0].pop("version", None) == ("4" if version == "0.4.0" else None)
    assert document == previous


@pytest.mark.parametrize("dns", [{}, {"nameservers": []}, None])
def test_a_prev_result_that_says_little_is_passed_on_too(cni: CniNode, dns: object) -> None:
    previous = {**BEFORE, "ips": [], **({} if dns is None else {"dns": dns})}
    document = cni.client.call("ADD", cni.conf(prevResult=previous)).document
    assert [each["name"] for each in document["interfaces"]] == ["eth0", "net1"]
    assert document.get("ips", []) == []


def test_c55_what_a_plugin_behind_us_changed_is_no_difference(cni: CniNode) -> None:
    """As `tuning` gives another MAC, and other plugins give more addresses and routes."""
    network = cni.conf(vlan=100, spoofchk="off", ipam={"type": "fixed"})
    document = cni.client.call("ADD", network).document
    with cni.bench.node.kernel() as net, net.inside(cni.bench.pod) as inner:
        index = inner.link("net1").index
        inner.set_link(index, kernel.Change(address="02:00:00:00:ee:01", mtu=1400, promisc=True))
        inner.add_address(index, ipaddress.ip_interface("192.0.2.7/24"))
        inner.add_route(index, kernel.Route(ipaddress.ip_network("198.51.100.0/24"), ipaddress.ip_address("192.0.2.1")))
    assert cni.client.call("CHECK", {**network, "prevResult": document}).code == 101, "nobody says that it did so"
    document["interfaces"][0] |= {"mac": "02:00:00:00:EE:01", "mtu": 1400}
    document["interfaces"].append({"name": "tun0", "sandbox": cni.client.netns, "mac": "02:00:00:00:ee:02"})
    document["ips"].append({"address": "203.0.113.9/24", "interface": 1})
    document["routes"].append({"dst": "203.0.114.0/24", "gw": "203.0.113.1"})
    before = cni.bench.machine.snapshot()
    answer = cni.client.call("CHECK", {**network, "prevResult": document})
    assert (answer.code, answer.stdout) == (0, ""), answer
    assert cni.bench.machine.snapshot() == before


ROUTE = {
    "dst": "198.51.100.0/24",
    "gw": "10.1.0.9",
    "mtu": 1300,
    "advmss": 1200,
    "priority": 7,
    "table": 99,
    "scope": 0,
}
OURS, THEIRS = {"nameservers": ["10.0.0.53"], "domain": "ours"}, {"nameservers": ["10.1.0.53"], "options": ["ndots:2"]}
EARLIER = {"nameservers": ["10.9.0.53"], "search": ["a.example", "b.example"]}


def test_c75_routes_of_ipam_reach_the_kernel_and_the_answer(cni: CniNode) -> None:
    answer = {"ips": [{"address": "10.1.0.5/24"}], "routes": [ROUTE, {"dst": "203.0.113.0/24"}]}
    harness.ipam_plugin(cni.plugins, "routing", f"[ $CNI_COMMAND != ADD ] || echo '{json.dumps(answer)}'")
    document = cni.client.call("ADD", cni.conf(ipam={"type": "routing"})).document
    assert document["routes"] == answer["routes"]
    with cni.bench.node.kernel() as net, net.inside(cni.bench.pod) as inner:
        found = inner.routes(inner.link("net1").index)
    gateway = ipaddress.ip_address("10.1.0.9")
    assert kernel.Route(ipaddress.ip_network("198.51.100.0/24"), gateway, 1300, 1200, 7, 99, 0) in found
    assert kernel.Route(ipaddress.ip_network("203.0.113.0/24")) in found


@pytest.mark.parametrize(
    ("configured", "leased", "before", "answered"),
    [
        (None, THEIRS, None, THEIRS),
        (OURS, THEIRS, EARLIER, OURS),
        ({}, THEIRS, EARLIER, THEIRS),
        (None, None, EARLIER, EARLIER),
        (OURS, None, None, OURS),
        (None, None, None, None),
    ],
)
def test_c75_dns(cni: CniNode, configured: object, leased: object, before: object, answered: object) -> None:
    """The configuration's, else IPAM's, else that of the plugins before; untouched."""
    answer = {"ips": [{"address": "10.1.0.5/24"}]} | ({"dns": leased} if leased else {})
    harness.ipam_plugin(cni.plugins, "naming", f"[ $CNI_COMMAND != ADD ] || echo '{json.dumps(answer)}'")
    previous = {**BEFORE, "dns": before} if before else None
    document = cni.client.call("ADD", cni.conf(ipam={"type": "naming"}, dns=configured, prevResult=previous)).document
    assert document.get("dns") == answered


@pytest.mark.parametrize("dns", [[], "10.0.0.53", {"nameservers": "10.0.0.53"}, {"domain": 5}])
def test_c75_dns_of_another_type_changes_nothing(cni: CniNode, dns: object) -> None:
    before = cni.bench.machine.snapshot()
    answer = cni.client.call("ADD", cni.conf(dns=dns))
    assert (answer.code, "dns" in answer.message) == (6, True), answer
    assert cni.bench.machine.snapshot() == before
