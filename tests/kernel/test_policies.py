"""Policies of a pod on a VF from its ADD to its end, with real packets: the daemon is a process (root)."""

import pathlib
import socket
import subprocess
import threading
from collections.abc import Iterator

import msgspec
import pytest

from sriov.cluster import policies
from sriov.linux import netns, nftables
from tests.kernel import linked, namespaces, policed, test_gc
from tests.kernel.linked import V4, V6
from tests.kernel.policed import DENY, OPEN, UNSELECTED, Stage, table
from tests.sriov_cni import harness

pytestmark = pytest.mark.root


@pytest.fixture
def stage(tmp_path: pathlib.Path) -> Iterator[Stage]:
    with policed.opened(tmp_path) as made:
        yield made


def test_only_what_a_policy_opens_passes(stage: Stage) -> None:
    stage.put(table(OPEN))
    assert stage.add().code == 0
    for of in (V4, V6):
        for ingress in (True, False):
            assert stage.reaches(of, ingress=ingress)
    stage.put(table(DENY))
    assert namespaces.until(lambda: stage.is_cut_off(V4, ingress=True))
    assert stage.is_cut_off(V6, ingress=False)
    stage.put(table(OPEN))
    assert namespaces.until(lambda: not stage.is_cut_off(V4, ingress=True))
    stage.put(table(OPEN, peers=frozenset()))
    assert namespaces.until(lambda: stage.is_cut_off(V4, ingress=True))
    assert stage.delete().code == 0
    assert stage.digest == ""


def test_a_pod_that_no_policy_selects_has_no_table_and_no_connection_tracking(stage: Stage) -> None:
    stage.put(table(UNSELECTED))
    generation = stage.generation
    assert stage.add().code == 0
    assert stage.reaches(V4, ingress=True)
    assert stage.reaches(V6, ingress=False)
    assert linked.conntrack(stage.place.pod.handle) == 0
    assert stage.generation == generation
    stage.put(table(OPEN))
    assert namespaces.until(lambda: stage.digest != "")
    assert stage.reaches(V4, ingress=True)
    assert linked.conntrack(stage.place.pod.handle) > 0


def test_what_a_pod_does_to_its_rules_is_restored(stage: Stage) -> None:
    stage.put(table(DENY))
    assert stage.add(mac="02:00:00:00:dd:01").code == 0
    digest = stage.digest
    with netns.entered(stage.place.pod.handle):
        nftables.run("flush ruleset")
    assert stage.reaches(V4, ingress=True)
    assert namespaces.until(lambda: stage.digest == digest)
    assert stage.is_cut_off(V4, ingress=True)


def test_what_is_not_known_is_refused_or_as_the_network_says(stage: Stage) -> None:
    refused = stage.add(families=(V4,))
    assert (refused.code, "the policies of pod x/a are not known on this node" in refused.message) == (11, True), (
        refused
    )
    assert stage.delete(families=(V4,)).code == 0
    for unknown, passes in (("allow", True), ("deny", False)):
        keys = {"families": (V4,), "policyUnknown": unknown}
        assert stage.add(**keys).code == 0
        met = stage.reaches if passes else stage.is_cut_off
        assert (met(V4, ingress=True), met(V4, ingress=False)) == (True, True)
        assert stage.delete(**keys).code == 0
    assert stage.add(families=(V4,), policyUnknown="allow").code == 0
    stage.put(table(DENY))
    assert namespaces.until(lambda: stage.is_cut_off(V4, ingress=True)), "until it is known"


def test_a_pod_that_comes_to_be_known_while_its_add_waits_starts(stage: Stage) -> None:
    timer = threading.Timer(0.5, stage.put, [table(OPEN)])
    timer.start()
    assert stage.add(families=(V4,)).code == 0
    timer.join()
    assert stage.reaches(V4, ingress=True)


def test_multi_network_policies_hold_for_their_network_alone(stage: Stage) -> None:
    """The cluster's own policies say nothing of it, and those of another network neither."""
    for place, passes in (("x/n1", False), ("", True), ("x/n2", True)):
        stage.put(table(DENY, network=place))
        assert stage.add(families=(V4,), policy="multi").code == 0
        met = stage.reaches if passes else stage.is_cut_off
        assert met(V4, ingress=True), place
        assert stage.delete(families=(V4,), policy="multi").code == 0


def test_networks_of_one_name_let_pass_only_what_policies_let_pass_in_all_of_them(stage: Stage) -> None:
    """Which of them the VF is in, the configuration does not say."""
    own = table(OPEN, network="x/n1")
    for rules, passes in ((OPEN, True), (DENY, False)):
        stage.put(msgspec.structs.replace(own, rules={**own.rules, ("x", "a", "y/n1"): rules}))
        assert stage.add(families=(V4,), policy="multi").code == 0
        assert stage.reaches(V4, ingress=True) == passes
        assert stage.delete(families=(V4,), policy="multi").code == 0


def test_a_pod_in_a_network_whose_policies_nobody_watches_does_not_start_and_keeps_what_it_has(stage: Stage) -> None:
    watched, keys = table(DENY, network="x/n1"), {"families": (V4,), "policy": "multi"}
    unwatched = msgspec.structs.replace(table(UNSELECTED), kinds=frozenset({policies.PolicyKind.NETWORK}))
    stage.put(unwatched)
    refused = stage.add(**keys)
    assert (refused.code, "start sriov-agent with --policies all" in refused.message) == (11, True), refused
    assert "net1" not in test_gc.links(stage.place.pod)
    stage.put(watched)
    assert stage.add(**keys).code == 0
    digest = stage.digest
    stage.put(unwatched)
    with netns.entered(stage.place.pod.handle):
        nftables.run("flush ruleset")
    assert namespaces.until(lambda: stage.digest == digest), "at the next look, which has seen that table"
    assert not stage.reaches(V4, ingress=True)
    stage.put(table(UNSELECTED, network="x/n1"))
    assert namespaces.until(lambda: stage.digest == "")
    assert stage.reaches(V4, ingress=True)


@linked.BOTH
def test_the_node_reaches_a_pod_that_denies_everything_by_the_host_link_and_nobody_in_its_name(
    stage: Stage, of: linked.Addresses
) -> None:
    """A client of a NodePort keeps its address, and obeys; so does who forges the node's address by the VF."""
    stage.put(table(DENY))
    place = stage.place
    assert stage.add(hostLink=True).code == 0
    assert linked.seen(place.pod.handle, of.pod, place.home) == of.node, "the kubelet's probe"
    assert linked.seen(place.home, of.node, place.pod.handle) == of.pod
    place.redirect((of.node, 30080), (of.pod, 8080))
    world = place.world.handle
    with pytest.raises(TimeoutError):
        linked.seen(place.pod.handle, of.pod, world, to=(of.node, 30080), own=of.far, patience=linked.QUIET)
    linked.ip(place.world.name, f"address add {of.node} dev lo", *linked.nodad(of))
    with pytest.raises(TimeoutError):
        linked.seen(place.pod.handle, of.pod, world, own=of.node, patience=linked.QUIET)
    linked.ip(place.world.name, f"address del {of.node} dev lo")
    stage.put(table(OPEN))
    assert namespaces.until(lambda: not stage.is_cut_off(of, ingress=True))
    assert linked.seen(place.pod.handle, of.pod, place.world.handle, to=(of.node, 30080), own=of.far) == of.far


def test_a_pod_is_held_by_the_nodes_default(tmp_path: pathlib.Path) -> None:
    node_policy = tmp_path / "node.json"
    node_policy.write_text(
        '{"defaults": {"policy": "kubernetes", "policyRaw": true}, "rules": [{"policyRaw": [true]}]}'
    )
    with policed.opened(tmp_path, "--policy", str(node_policy)) as stage:
        stage.put(table(DENY))
        for keys, passes in (({"policy": None}, False), ({"policy": "off"}, True)):
            assert stage.add(families=(V4,), **keys).code == 0
            met = stage.reaches if passes else stage.is_cut_off
            assert (met(V4, ingress=True), 'device "net1"' in ruleset(stage.place.pod)) == (True, not passes)
            assert stage.delete(families=(V4,), **keys).code == 0


def test_rules_do_not_name_a_default_link_that_the_pod_cannot_have(tmp_path: pathlib.Path) -> None:
    """It could give that name to another link, and whoever has the node's address there would pass."""
    node_policy = tmp_path / "node.json"
    node_policy.write_text('{"defaults": {"hostLink": true}}')
    with policed.opened(tmp_path, "--policy", str(node_policy)) as stage:
        stage.put(table(DENY))
        linked.ip(stage.place.node.name, f"route add {V4.pod}/32 dev eth0")
        assert stage.add(families=(V4,), policyRaw=True).code == 0
        assert {*test_gc.links(stage.place.pod)} == {"lo", "net1"}
        rules = "".join(ruleset(stage.place.pod).partition(f"table inet {policed.TABLE}")[1:])
        assert ("host0" in rules, 'iifname "net1"' in rules, 'device "net1"' in rules) == (False, True, True)
        assert stage.is_cut_off(V4, ingress=True)
        assert stage.is_cut_off(V4, ingress=False)


def test_packets_by_the_host_link_pass_with_policy_raw_too(stage: Stage) -> None:
    stage.put(table(DENY))
    place = stage.place
    assert stage.add(hostLink=True, policyRaw=True).code == 0
    for of in (V4, V6):
        assert linked.seen(place.pod.handle, of.pod, place.home) == of.node
        assert linked.seen(place.home, of.node, place.pod.handle) == of.pod
    assert stage.is_cut_off(V4, ingress=False)


def test_its_addresses_are_announced_although_packet_sockets_are_held(stage: Stage) -> None:
    stage.put(table(DENY))
    with linked.capture(stage.place.world.handle, "vf0") as listening:
        assert stage.add(families=(V4,), policyRaw=True).code == 0
        own = socket.inet_aton(V4.pod)
        assert any(data[14:18] == data[24:28] == own for data in iter(lambda: listening.recv(2048), b""))


@pytest.mark.parametrize(
    ("keys", "code", "words"),
    [
        ({"policy": "calico"}, 2, "policy 'calico' is not known"),
        ({"policyUnknown": "open"}, 2, "policyUnknown 'open' is not known"),
        ({"policy": None, "policyRaw": True}, 7, "policyRaw needs a policy"),
        ({"policy": "off", "policyUnknown": "deny"}, 7, "policyUnknown needs a policy"),
        ({"policyRaw": True, "ipam": {"type": "dhcp"}}, 7, "policyRaw would drop what the IPAM plugin dhcp sends"),
        ({"policy": True}, 6, "Expected `str | null`, got `bool` - at `$.policy`"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_changed(
    stage: Stage, keys: dict[str, object], code: int, words: str
) -> None:
    stage.put(table(OPEN))
    answer = stage.add(**keys)
    assert (answer.code, words in answer.message) == (code, True), answer
    assert "net1" not in test_gc.links(stage.place.pod)


def test_a_pod_without_a_name_or_with_a_strange_interface_is_refused(stage: Stage) -> None:
    client = stage.place.client
    for env, words in (({"ARGS": ""}, "K8S_POD_NAME"), ({"IFNAME": 'n"1', "ARGS": policed.POD}, "CNI_IFNAME")):
        answer = client.call("ADD", policed.network(), **env)
        assert (answer.code, words in answer.message) == (4, True), answer


def test_a_daemon_without_policies_refuses_such_a_network(tmp_path: pathlib.Path) -> None:
    with test_gc.node(tmp_path), namespaces.made("pod") as pod:
        client = harness.Client(tmp_path / "run/cni.sock", linked.PLUGINS, pod.path)
        answer = client.call("ADD", policed.network(), ARGS=policed.POD)
        assert (answer.code, "does not know the cluster's policies" in answer.message) == (7, True), answer


def test_rules_do_not_meet_another_interface_that_has_the_vfs_index(stage: Stage) -> None:
    """The VF gets another one then; without such an interface the rules name the VF by its index, too."""
    stage.put(table(DENY))
    place = stage.place
    assert stage.add(families=(V4,)).code == 0
    assert 'iif "net1"' in ruleset(place.pod)
    assert stage.delete(families=(V4,)).code == 0
    netdev = place.node.netdev(linked.VF)
    assert netdev is not None
    linked.ip(place.pod.name, f"link add other index {netdev.index} type bridge")
    assert stage.add(families=(V4,)).code == 0
    assert 'iif "' not in ruleset(place.pod)
    assert 'iifname "net1"' in ruleset(place.pod)
    assert stage.is_cut_off(V4, ingress=True)


def ruleset(pod: namespaces.Namespace) -> str:
    command = ["ip", "netns", "exec", pod.name, "nft", "list", "ruleset"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
