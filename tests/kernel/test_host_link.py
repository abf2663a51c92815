"""The host link with real packets."""

import contextlib
import dataclasses
import http.client
import http.server
import pathlib
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from sriov.linux import netns, nftables
from tests.kernel import linked, namespaces

pytestmark = pytest.mark.root
PROJECT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[linked.Place]:
    with linked.opened(tmp_path) as made:
        yield made


@linked.BOTH
def test_node_and_pod_reach_each_other_by_their_own_addresses(place: linked.Place, of: linked.Addresses) -> None:
    place.add(hostLink=True)
    assert linked.seen(place.pod.handle, of.pod, place.home) == of.node
    assert linked.seen(place.home, of.node, place.pod.handle) == of.pod
    assert linked.seen(place.world.handle, of.gateway, place.pod.handle) == of.pod, "by the VF"


@linked.BOTH
def test_without_it_they_do_not(place: linked.Place, of: linked.Addresses) -> None:
    """The world routes nothing: what the other tests see comes by the host link."""
    place.add()
    with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
        linked.seen(place.pod.handle, of.pod, place.home, patience=linked.QUIET)
    with pytest.raises(OSError, match=r"timed out|unreachable|No route|refused"):
        forwarded = (of.node, 8080)
        linked.seen(place.world.handle, of.far, place.pod.handle, own=of.pod, to=forwarded, patience=linked.QUIET)


@linked.BOTH
def test_what_is_beyond_the_node_is_masqueraded_and_nothing_else(place: linked.Place, of: linked.Addresses) -> None:
    place.add(hostLink=True, viaHost=[of.far_network])
    assert linked.seen(place.world.handle, of.far, place.pod.handle) == of.node
    assert linked.seen(place.home, of.node, place.pod.handle) == of.pod, "the node itself sees the pod"
    assert linked.seen(place.world.handle, of.elsewhere, place.pod.handle) == of.pod, "by the VF"
    assert linked.seen(place.world.handle, of.far, place.home, own=of.node) == of.node
    # Root in the pod sends by the host what no network names: the node is no way out of the pod's VLAN.
    linked.loosely(place.pod.handle, "net1")
    hop = {linked.V4: "169.254.1.1", linked.V6: "fe80::1"}[of]
    linked.ip(place.pod.name, f"route add {of.elsewhere} via {hop} dev host0 onlink")
    with pytest.raises(TimeoutError):
        linked.seen(place.world.handle, of.elsewhere, place.pod.handle, patience=linked.QUIET)
    linked.ip(place.pod.name, f"route del {of.elsewhere}")
    assert linked.seen(place.world.handle, of.elsewhere, place.pod.handle) == of.pod


@linked.BOTH
@pytest.mark.parametrize("strict", ["1", "2"], ids=["strict", "loose"])
def test_what_comes_in_by_the_host_goes_back_by_the_host(
    place: linked.Place, of: linked.Addresses, strict: str
) -> None:
    """As kube-proxy does for a NodePort with externalTrafficPolicy Local: a foreign client's own address is kept."""
    place.add(hostLink=True)
    with netns.entered(place.pod.handle):
        for name in ("all", "host0", "net1"):
            (pathlib.Path("/proc/sys/net/ipv4/conf") / name / "rp_filter").write_text(strict)
    place.redirect((of.node, 30080), (of.pod, 8080))
    assert linked.seen(place.pod.handle, of.pod, place.world.handle, to=(of.node, 30080), own=of.far) == of.far
    assert linked.seen(place.pod.handle, of.pod, place.world.handle) == of.gateway, (
        "what comes in by the VF goes back by it"
    )
    assert linked.conntrack(place.pod.handle) == 0
    with pytest.raises(ConnectionRefusedError):
        _refused(place, of)


def _refused(place: linked.Place, of: linked.Addresses) -> None:
    """Connect to a port of the pod where nobody listens: the refusal goes back by the host, too."""
    with linked.socket_in(place.world.handle, of.far) as caller:
        caller.bind((of.far, 0))
        caller.connect((of.node, 30080))


@linked.BOTH
def test_the_kubelets_probes_reach_the_pod(place: linked.Place, of: linked.Addresses) -> None:
    """HTTP and TCP, as the kubelet makes them: from the node's namespace, to the pod's address."""
    place.add(hostLink=True)
    answered: list[str] = []

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answered.append(self.client_address[0])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with linked.socket_in(place.pod.handle, of.pod) as listener, linked.socket_in(place.home, of.node) as prober:
        listener.bind((of.pod, 8080))
        listener.listen()
        prober.connect((of.pod, 8080))  # all that a TCP probe does
        server = http.server.HTTPServer((of.pod, 8080), Healthy, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        with contextlib.closing(http.client.HTTPConnection(of.pod, 8080)) as asking:
            listener.accept()[0].close()
            asking.sock = linked.socket_in(place.home, of.node)
            asking.sock.connect((of.pod, 8080))
            asking.request("GET", "/healthz")
            server.handle_request()
            assert asking.getresponse().status == 200
    assert answered == [of.node]


@linked.BOTH
def test_the_kubelets_grpc_probe_reaches_the_pod(place: linked.Place, of: linked.Addresses) -> None:
    place.add(hostLink=True)
    linked.ip(place.pod.name, "link set lo up")  # without ::1 gRPC takes it that there is no IPv6
    target = f"{of.pod}:8080" if of is linked.V4 else f"[{of.pod}]:8080"
    program = [sys.executable, "-m", "tests.kernel.probes"]
    inside = ["ip", "netns", "exec", place.pod.name, *program, "serve", target]
    probe = place.node.command(*program, "probe", target)
    with subprocess.Popen(inside, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        said = subprocess.run(probe, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
        assert said == "SERVING\n"
        assert of.node in urllib.parse.unquote(server.stdout.readline())
        server.stdin.close()


def test_the_result_names_the_vf_first_and_both_ends(place: linked.Place) -> None:
    document = place.add(hostLink="up-host")
    vf, here, there = document["interfaces"]
    assert (vf["name"], there["name"], there["sandbox"]) == ("net1", "up-host", place.pod.path)
    assert "sandbox" not in here
    for end, where in ((here, place.node.name), (there, place.pod.name)):
        [link] = linked.shown(where, "link", "show", end["name"])
        assert (link["address"], link["operstate"]) == (end["mac"], "UP")
        assert linked.shown(where, "address", "show", "dev", end["name"])[0]["addr_info"] == [], "no address of its own"
    assert [each["interface"] for each in document["ips"]] == [0, 0]


def test_nobody_asks_for_a_mac(place: linked.Place) -> None:
    document = place.add(hostLink=True)
    name = document["interfaces"][1]["name"]
    for where, link in ((place.pod.name, "host0"), (place.node.name, name)):
        states = [each["state"] for each in linked.shown(where, "neigh", "show", "dev", link)]
        assert states == [["PERMANENT"], ["PERMANENT"]]


@linked.BOTH
def test_a_forged_source_is_dropped_at_the_node(place: linked.Place, of: linked.Addresses) -> None:
    """Both datagrams leave the pod and arrive on the link; the node's server gets the genuine one alone."""
    name = place.add(hostLink=True)["interfaces"][1]["name"]
    forged = {linked.V4: "10.66.0.1", linked.V6: "2001:db8:66::1"}[of]
    linked.loosely(place.pod.handle, "net1")
    linked.loosely(place.home, name)  # so that the rules alone judge
    linked.ip(place.pod.name, f"address add {forged} dev lo", *linked.nodad(of))
    linked.ip(place.node.name, f"route add {forged} via {of.router}")
    with linked.datagrams(place.home, of.node) as server, linked.capture(place.home, name) as seen:
        server.bind((of.node, 5300))
        for own, word in ((forged, b"forged"), (of.pod, b"genuine")):
            with linked.datagrams(place.pod.handle, of.node) as client:
                client.bind((own, 0))
                client.sendto(word, (of.node, 5300))
        assert server.recvfrom(64)[0] == b"genuine"
        for word in (b"forged", b"genuine"):
            while not seen.recv(2048).endswith(word):  # the kernel sends its own there, such as MLD
                pass
        server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            server.recvfrom(64)
    with pytest.raises(TimeoutError):
        linked.seen(place.home, of.node, place.pod.handle, own=forged, patience=linked.QUIET)
    assert place.dropped() > 0
    assert linked.seen(place.home, of.node, place.pod.handle) == of.pod


@linked.BOTH
def test_datagrams_of_the_node_are_answered_by_the_host(place: linked.Place, of: linked.Addresses) -> None:
    place.add(hostLink=True)
    assert linked.answered(place.pod.handle, of.pod, place.home, (of.pod, 5300)) == of.node
    assert linked.answered(place.home, of.node, place.pod.handle, (of.node, 5300)) == of.pod


@linked.BOTH
def test_datagrams_of_others_arrive_by_the_host(place: linked.Place, of: linked.Addresses) -> None:
    """Their answers take the pod's routes, here by the VF, where the client does not expect them: as the page says."""
    place.add(hostLink=True)
    linked.loosely(place.pod.handle, "host0")
    place.redirect((of.node, 30053), (of.pod, 5300), "udp")
    with (
        linked.datagrams(place.pod.handle, of.pod) as server,
        linked.datagrams(place.world.handle, of.far) as client,
        linked.capture(place.pod.handle, "net1") as by_vf,
    ):
        server.bind((of.pod, 5300))
        client.bind((of.far, 0))
        client.sendto(b"ping", (of.node, 30053))
        word, peer = server.recvfrom(64)
        assert (word, peer[0]) == (b"ping", of.far)
        server.sendto(b"pong", peer)
        while not by_vf.recv(2048).endswith(b"pong"):
            pass


@linked.BOTH
@pytest.mark.parametrize("way_back", ["1", "2"], ids=["strict", "loose"])
def test_where_the_key_asks_answers_to_datagrams_go_back_by_the_host(
    place: linked.Place, of: linked.Addresses, way_back: str
) -> None:
    """A foreign client keeps its own address; what comes in by the VF, also from the same client, goes back by it."""
    place.add(hostLink=True, hostLinkUdp=True)
    _check_the_way_back(place, way_back)
    place.redirect((of.node, 30053), (of.pod, 5300), "udp")
    world = place.world.handle
    assert linked.answered(place.pod.handle, of.pod, world, (of.node, 30053), port=5300, own=of.far) == of.far
    assert linked.answered(place.pod.handle, of.pod, place.world.handle, (of.pod, 5300)) == of.gateway
    assert linked.answered(place.world.handle, of.far, place.pod.handle, (of.far, 5301)) == of.pod, "the pod asks"
    with linked.datagrams(place.world.handle, of.far) as asking:
        asking.bind((of.far, 0))
        asking.connect((of.node, 30053))
        asking.send(b"to nobody")
        with pytest.raises(ConnectionRefusedError):
            asking.recv(64)
    assert linked.conntrack(place.pod.handle) == 0, "what the pod sends by its VF is not counted either"


def _check_the_way_back(place: linked.Place, mode: str) -> None:
    with netns.entered(place.pod.handle):
        for name in ("all", "host0", "net1"):
            (pathlib.Path("/proc/sys/net/ipv4/conf") / name / "rp_filter").write_text(mode)


@linked.BOTH
def test_a_pod_with_nat_of_its_own_keeps_it(place: linked.Place, of: linked.Addresses) -> None:
    """Datagrams and connections that come in by the host go to another port of the pod."""
    place.add(hostLink=True, hostLinkUdp=True)
    place.redirect((of.node, 30053), (of.pod, 5300), "udp")
    place.redirect((of.node, 30080), (of.pod, 5300))
    family = "ip" if of is linked.V4 else "ip6"
    chain = f"{family} sidecar prerouting"
    rules = (f"add rule {chain} {each} dport 5300 dnat to :{to}" for each, to in (("udp", 5353), ("tcp", 8080)))
    with netns.entered(place.pod.handle):
        hook = "{ type nat hook prerouting priority dstnat; }"
        nftables.run("\n".join((f"add table {family} sidecar", f"add chain {chain} {hook}", *rules)))
    world = place.world.handle
    assert linked.answered(place.pod.handle, of.pod, world, (of.node, 30053), port=5353, own=of.far) == of.far
    assert linked.seen(place.pod.handle, of.pod, world, to=(of.node, 30080), own=of.far) == of.far


@linked.BOTH
def test_the_next_pod_of_a_namespace_has_no_rules_of_the_last(place: linked.Place, of: linked.Addresses) -> None:
    place.add(hostLink=True, hostLinkUdp=True)
    assert place.client.call("DEL", linked.network()).code == 0
    place.add(hostLink=True)
    place.redirect((of.node, 30053), (of.pod, 5300), "udp")
    to, quiet = (of.node, 30053), linked.QUIET
    with pytest.raises(TimeoutError):
        linked.answered(place.pod.handle, of.pod, place.world.handle, to, port=5300, own=of.far, patience=quiet)


@linked.BOTH
def test_a_node_local_dns_is_one_via_host_network(place: linked.Place, of: linked.Addresses) -> None:
    """Its address is on a dummy link of the node; not every kernel has those, and an address of a bridge is as good.

    The kernel gives an address of IPv6 its scope itself, so without a dummy link it is the node's like any other.
    """
    local = {linked.V4: "169.254.20.10", linked.V6: "fd00:20::10"}[of]
    linked.ip(place.node.name, "link add nodelocaldns type bridge")
    linked.ip(place.node.name, f"address add {local} dev nodelocaldns scope link", *linked.nodad(of))
    linked.ip(place.node.name, "link set nodelocaldns up")
    place.add(hostLink=True)
    if of is linked.V4:
        with pytest.raises(OSError, match=r"timed out|unreachable"):
            linked.answered(place.home, local, place.pod.handle, (local, 53), patience=linked.QUIET)
    assert place.client.call("DEL", linked.network()).code == 0
    place.add(hostLink=True, viaHost=[f"{local}/{32 if of is linked.V4 else 128}"])
    assert linked.answered(place.home, local, place.pod.handle, (local, 53)) == of.pod


def test_check_sees_the_link_and_its_routes(place: linked.Place) -> None:
    document = place.add(hostLink=True, viaHost=[linked.V4.far_network])
    checked = linked.network(hostLink=True, viaHost=[linked.V4.far_network], prevResult=document, ipam=None)
    assert place.client.call("CHECK", checked).code == 0
    name = document["interfaces"][1]["name"]
    for where, harm, named in (
        (place.node.name, f"route del {linked.V4.pod} dev {name}", f"{name} has lost its route to {linked.V4.pod}/32"),
        (
            place.pod.name,
            f"route del {linked.V4.far_network} dev host0",
            f"host0 has lost its route to {linked.V4.far_network}",
        ),
        (place.pod.name, "link set host0 down", "host0 in the pod is down"),
        (place.pod.name, "link del host0", f"{name} is not in the node"),
    ):
        linked.ip(where, harm)
        answer = place.client.call("CHECK", checked)
        assert (answer.code, named in answer.message) == (101, True), answer
    assert place.client.call("DEL", linked.network()).code == 0, "the pod has hurt itself alone"


def test_check_sees_the_rules_for_udp(place: linked.Place) -> None:
    document = place.add(hostLink=True, hostLinkUdp=True)
    checked = linked.network(hostLink=True, hostLinkUdp=True, prevResult=document, ipam=None)
    assert place.client.call("CHECK", checked).code == 0
    with netns.entered(place.pod.handle):
        nftables.run("flush ruleset")
    answer = place.client.call("CHECK", checked)
    assert (answer.code, "host0 in the pod has lost its rules for answers to UDP" in answer.message) == (101, True)


def test_an_address_of_its_own_can_be_used_when_the_pod_starts(place: linked.Place) -> None:
    """Else the pod's first connections would have the VF's address. Here the kernel asks for a second who has it."""
    with netns.entered(place.pod.handle):
        for name in ("all/accept_dad", "default/dad_transmits"):
            (pathlib.Path("/proc/sys/net/ipv6/conf") / name).write_text("1")
    place.add(hostLink=True, hostLinkAddresses=["fd77::5"])
    assert linked.seen(place.home, linked.V6.node, place.pod.handle) == "fd77::5"


@linked.BOTH
def test_an_address_of_its_own_is_used_on_the_link_alone(place: linked.Place, of: linked.Addresses) -> None:
    own = {linked.V4: "192.168.77.5", linked.V6: "fd77::5"}[of]
    keys: dict[str, Any] = {"hostLink": True, "hostLinkAddresses": [own], "viaHost": [of.far_network]}
    document = place.add(**keys)
    assert [each["address"].partition("/")[0] for each in document["ips"]] == [linked.V4.pod, linked.V6.pod]
    assert linked.seen(place.home, of.node, place.pod.handle) == own
    assert linked.seen(place.pod.handle, own, place.home) == of.node
    assert linked.seen(place.pod.handle, of.pod, place.home) == of.node
    assert linked.seen(place.world.handle, of.far, place.pod.handle) == of.node, "masqueraded"
    assert linked.seen(place.world.handle, of.gateway, place.pod.handle) == of.pod, "by the VF"
    checked = linked.network(**keys, prevResult=document, ipam=None)
    assert place.client.call("CHECK", checked).code == 0
    with namespaces.made("next") as pod:
        there = dataclasses.replace(place.client, netns=pod.path)
        refused = there.call("ADD", linked.network(linked.OTHER_VF, **keys), CONTAINERID="c2")
        assert (refused.code, f"hostLinkAddresses {own}: container c1" in refused.message) == (7, True), refused
        assert {each["ifname"] for each in linked.shown(pod.name, "link")} == {"lo"}
    linked.ip(place.pod.name, f"address flush dev host0 to {own}")
    answer = place.client.call("CHECK", checked)
    assert (answer.code, f"host0 in the pod has lost its address {own}" in answer.message) == (101, True), answer
    assert place.client.call("DEL", linked.network(**keys)).code == 0


def test_an_address_that_another_pod_of_the_node_has_is_not_taken_from_it(place: linked.Place) -> None:
    """As of two VLANs with the same addresses: probes would come to the other pod."""
    place.add(hostLink=True)
    with namespaces.made("next") as pod:
        there = dataclasses.replace(place.client, netns=pod.path)
        wanted = linked.network(linked.OTHER_VF, (linked.V4,), hostLink=True)
        refused = there.call("ADD", wanted, CONTAINERID="c2")
        assert refused.code == 11, refused
        assert f"the node has a route to {linked.V4.pod}/32 already" in refused.message
        assert {each["ifname"] for each in linked.shown(pod.name, "link")} == {"lo"}
    for of in (linked.V4, linked.V6):
        assert linked.seen(place.pod.handle, of.pod, place.home) == of.node


def test_rules_that_somebody_removes_from_the_node_come_back(place: linked.Place) -> None:
    """As a firewall that is loaded again does. Nothing but the daemon's own round sees it."""
    place.add(hostLink=True, viaHost=[linked.V4.far_network])
    place.nft("flush ruleset")

    def is_there() -> bool:
        with netns.entered(place.home):
            return bool(nftables.comment("sriov-underlay"))

    assert namespaces.until(is_there)
    assert linked.seen(place.world.handle, linked.V4.far, place.pod.handle) == linked.V4.node, "masqueraded"


def test_del_leaves_nothing_and_so_does_a_namespace_that_dies(place: linked.Place) -> None:
    before = linked.left_on(place.node.name)
    place.add(hostLink=True, viaHost=[linked.V4.far_network, linked.V6.far_network])
    assert linked.left_on(place.node.name) != before
    assert place.client.call("DEL", linked.network(hostLink=True)).code == 0
    assert linked.left_on(place.node.name) == before
    with namespaces.made("mortal") as pod:
        there = dataclasses.replace(place.client, netns=pod.path)
        answer = there.call("ADD", linked.network(linked.OTHER_VF, hostLink=True), CONTAINERID="c2")
        assert answer.code == 0, answer
    assert namespaces.until(lambda: not linked.left_on(place.node.name) - before), (
        linked.left_on(place.node.name) - before
    )


@pytest.mark.slow
def test_50_pods_that_come_and_go_leave_nothing(place: linked.Place) -> None:
    before = linked.left_on(place.node.name)
    for number in range(50):
        who = {"CONTAINERID": f"pod{number}"}
        keys: dict[str, Any] = {"hostLink": True, "viaHost": [linked.V4.far_network]}
        answer = place.client.call("ADD", linked.network(families=(linked.V4,), **keys), **who)
        assert answer.code == 0, answer
        assert place.client.call("DEL", linked.network(families=(linked.V4,), **keys), **who).code == 0
        assert linked.shown(place.pod.name, "link", "show", "type", "veth") == []
        with netns.entered(place.pod.handle):
            nftables.run("delete table inet sriov-underlay")  # a pod's goes with its namespace
    assert linked.left_on(place.node.name) == before
