"""Changes of a cluster: they add up to what a new view of the same cluster has, and none says more than it must."""

import copy
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from sriov.cluster import policies as compiled
from sriov.cluster import policy_frames
from sriov_agent.policies import objects, pods, view
from tests.sriov_agent.policies import small_cluster, test_truth_table
from tests.sriov_agent.policies.oracle import Json
from tests.sriov_agent.policies.small_cluster import NAMESPACES, PODS, policy

A, B = test_truth_table.A, test_truth_table.B
EVERYWHERE: Json = {"namespaceSelector": {}}


def table(made: view.PolicyView) -> compiled.PolicyTable:
    return compiled.PolicyTable(made.sets, made.grants, made.rules)


def labelled(pod: Json, labels: dict[str, str]) -> Json:
    changed = copy.deepcopy(pod)
    changed["metadata"]["labels"] = labels
    return changed


def moved(pod: Json, *addresses: str) -> Json:
    return {**pod, "status": {"phase": "Running", "podIPs": [{"ip": each} for each in addresses]}}


def ports(pod: Json, *numbers: int) -> Json:
    told = [{"name": "serve-80-tcp", "containerPort": each} for each in numbers]
    return {**pod, "spec": {**pod["spec"], "containers": [{"ports": told}]}}


PODS_NOW = st.builds(
    lambda pod, change: change(pod),
    st.sampled_from(PODS),
    st.sampled_from([
        copy.deepcopy,
        lambda pod: labelled(pod, {"pod": "a"}),
        lambda pod: labelled(pod, {"pod": "b", "other": "b"}),
        lambda pod: moved(pod, "10.0.1.5", "fd00::77"),
        lambda pod: {**pod, "status": {}},
        lambda pod: ports(pod, 81, 8080),
        lambda pod: {**pod, "spec": {**pod["spec"], "nodeName": "there"}},
        lambda pod: {**pod, "spec": {**pod["spec"], "hostNetwork": True}},
        lambda pod: {**pod, "status": {**pod["status"], "phase": "Failed"}},
        lambda pod: {**pod, "gone": True},
    ]),
)  # fmt: skip
NAMESPACE_NOW = st.builds(
    lambda name, labels: {"metadata": {"name": name, "labels": labels}},
    st.sampled_from("xyz"), st.sampled_from([{"ns": "x"}, {"ns": "y"}, {}]),
)  # fmt: skip


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(
    st.lists(st.one_of(PODS_NOW, NAMESPACE_NOW, test_truth_table.some_policies()), min_size=1, max_size=8), st.data()
)
def test_changes_add_up_to_what_a_new_view_has(events: list[Any], data: st.DataObject) -> None:
    made, _ = small_cluster.compile_all([])
    seen = table(made)
    cluster = {"pods": {_key(each): each for each in PODS}, "namespaces": {_key(each): each for each in NAMESPACES}}
    said: dict[tuple[str, str], Json] = {}
    for event in events:
        for kind, one in [("policies", each) for each in event] if isinstance(event, list) else [(_kind(event), event)]:
            (said if kind == "policies" else cluster[kind])[_key(one)] = one
            tell(made, kind, one)
        for key in [each for each in said if data.draw(st.integers(0, 3)) == 0]:
            del said[key]
            made.drop_policy(key)
        if data.draw(st.booleans()):
            seen = compiled.applied(seen, made.change())
    seen = compiled.applied(seen, made.change())
    assert seen == table(made) == table(fresh(cluster, said))
    assert made.change() == compiled.PolicyChange()


def _key(told: Json) -> tuple[str, str]:
    return told["metadata"].get("namespace", ""), told["metadata"]["name"]


def _kind(event: Json) -> str:
    return "pods" if "spec" in event else "namespaces"


def tell(made: view.PolicyView, kind: str, one: Json) -> None:
    if kind == "policies":
        made.put_policy(msgspec.convert(one, objects.PolicyObject))
    elif kind == "namespaces":
        made.put_namespace(msgspec.convert(one, objects.NamespaceObject))
    elif one.get("gone"):
        made.drop_pod(_key(one))
    else:
        made.put_pod(msgspec.convert(one, objects.PodObject))


def fresh(cluster: dict[str, dict[tuple[str, str], Json]], said: dict[tuple[str, str], Json]) -> view.PolicyView:
    made = view.PolicyView(small_cluster.NODE, lambda _: None)
    for kind, every in (*cluster.items(), ("policies", said)):
        for one in every.values():
            tell(made, kind, one)
    made.change()
    return made


def test_one_pod_that_changes_touches_its_sets_alone() -> None:
    deny = policy("y", "deny")
    allow = policy("x", podSelector=A, ingress=[{"from": [{**EVERYWHERE, "podSelector": B}]}])
    made, _ = small_cluster.compile_all([deny, allow])
    made.put_pod(msgspec.convert(moved(PODS[4], "10.0.9.9"), objects.PodObject))
    changed = made.change()
    [(name, difference)] = changed.sets.items()
    assert difference.new == (compiled.packed("10.0.9.9"),)
    assert {*difference.gone} == {compiled.packed("10.0.1.5"), compiled.packed("fd00::5")}
    assert (changed.grants, changed.rules, changed.gone_sets) == ({}, {}, ())
    assert name in made.sets


def test_a_named_port_is_every_receivers_own() -> None:
    """Also of one that comes later, with a number that nobody had."""
    named = [{"to": [EVERYWHERE], "ports": [{"port": "serve-80-tcp"}]}]
    made, _ = small_cluster.compile_all([policy("x", podSelector=A, egress=named)])
    assert small_cluster.passes(made, "Egress", PODS[0], PODS[4], ("TCP", 8080)) == {False}
    made.put_pod(msgspec.convert(ports(PODS[4], 8080), objects.PodObject))
    made.change()
    assert small_cluster.passes(made, "Egress", PODS[0], PODS[4], ("TCP", 8080)) == {True}
    assert small_cluster.passes(made, "Egress", PODS[0], PODS[5], ("TCP", 8080)) == {False}


def test_an_address_that_two_pods_have_for_a_moment_stays() -> None:
    """One has ended and is still there, the other has its address already."""
    allow = policy("x", podSelector=A, ingress=[{"from": [EVERYWHERE]}])
    made, _ = small_cluster.compile_all([allow])
    made.put_pod(msgspec.convert(moved(PODS[8], "10.0.1.5"), objects.PodObject))
    made.change()
    made.drop_pod(("y", "b"))
    made.change()
    assert all(compiled.packed("10.0.1.5") in each for each in made.sets.values())


def test_what_no_pod_of_this_node_needs_is_not_compiled() -> None:
    there = [{**each, "spec": {**each["spec"], "nodeName": "there"}} for each in PODS]
    made, _ = small_cluster.compile_all([policy("x", ingress=[{"from": [EVERYWHERE]}])], there)
    assert table(made) == compiled.PolicyTable()


def test_a_pod_that_no_policy_selects_has_no_rules_and_is_known() -> None:
    made, _ = small_cluster.compile_all([policy("y")])
    assert made.rules["x", "a", ""] == compiled.Rules(None, None, "xa")
    assert made.rules["y", "a", ""].egress is None
    assert made.rules["y", "a", ""].ingress is not None


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an operator": (
        {"ingress": [{"from": [{"podSelector": test_truth_table.expression("Gt", "1")}]}]},
        "ingress[0]: selector for 'pod': 'Gt' is no operator of a selector; write In, NotIn, Exists or DoesNotExist",
    ),
    "In without values": (
        {"ingress": [{"from": [{"podSelector": test_truth_table.expression("In")}]}]},
        "ingress[0]: selector for 'pod': In has no values",
    ),
    "a block": ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0/8"}}]}]}, "ingress[0]: ipBlock: "),
    "an exception": (
        {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["x"]}}]}]}, "ingress[0]: ipBlock: ",
    ),
    "a block and a selector": (
        {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]},
        "a peer with ipBlock and a selector",
    ),
    "a peer of nothing": ({"ingress": [{"from": [{}]}]}, "a peer without ipBlock"),
    "a protocol": ({"ingress": [{"ports": [{"protocol": "ICMP"}]}]}, "protocol 'ICMP'; write TCP, UDP or SCTP"),
    "an endPort without port": ({"ingress": [{"ports": [{"endPort": 80}]}]}, "endPort without port"),
    "an endPort of a name": ({"ingress": [{"ports": [{"port": "http", "endPort": 80}]}]}, "port 'http' has an endPort"),
    "a port's name of nothing": (
        {"ingress": [{"ports": [{"port": ""}]}]},
        "port '' is no port's name; write a number, or leave port out for all",
    ),
    "a port's number as a name": ({"ingress": [{"ports": [{"port": "80"}]}]}, "port '80' is no port's name"),
    "a port's name that is too long": ({"ingress": [{"ports": [{"port": "a" * 16}]}]}, "is no port's name"),
    "an endPort that is smaller": ({"ingress": [{"ports": [{"port": 80, "endPort": 79}]}]}, "ports 80 to 79"),
    "a port": ({"ingress": [{"ports": [{"port": 70000}]}]}, "ports 70000 to 70000"),
    "a type": ({"policyTypes": ["Both"]}, "policyTypes 'Both' is neither Ingress nor Egress"),
    "its own selector": (
        {"podSelector": {"matchExpressions": [{"key": "pod", "operator": "Is"}]}}, "podSelector: selector for 'pod'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_compiled_is_closed_and_said(case: str) -> None:
    """Beside a rule that is well: that one stays in force."""
    spec, words = WRONG[case]
    if "ingress" in spec:
        spec = {"ingress": [*spec["ingress"], {"ports": [{"port": 81}]}]}
    made, complaints = small_cluster.compile_all([policy(**spec)])
    assert len(complaints) == 1
    assert complaints[0].startswith("NetworkPolicy x/policy: ")
    assert words in complaints[0]
    assert complaints[0].endswith("; what it is about is closed")
    for pod in PODS[:3]:
        assert small_cluster.passes(made, "Ingress", pod, "192.0.2.1", ("TCP", 80)) == {False}
        assert small_cluster.passes(made, "Ingress", pod, "192.0.2.1", ("TCP", 81)) == {"ingress" in spec}


def attached(pod: Json, *networks: str, asked: str = "") -> Json:
    """Its address in the n-th of these networks is 10.<n>.<pod>.1."""
    place = PODS.index(pod)
    status = [{"name": "cluster", "default": True, "ips": ["10.0.0.1"]}]
    status += [{"name": each, "ips": [f"10.{number}.{place}.1"]} for number, each in enumerate(networks, 1)]
    notes = {
        "k8s.v1.cni.cncf.io/network-status": msgspec.json.encode(status).decode(),
        "k8s.v1.cni.cncf.io/networks": asked or ",".join(networks),
    }
    return {**pod, "metadata": {**pod["metadata"], "annotations": notes}}


def multi(policy_for: str, **spec: Any) -> Json:
    made = policy("x", "multi", **spec)
    return {**made, "metadata": {**made["metadata"], "annotations": {"k8s.v1.cni.cncf.io/policy-for": policy_for}}}


def compile_multi(said: Json, pods: list[Json]) -> view.PolicyView:
    made, complaints = small_cluster.compile_all([], pods)
    made.put_policy(msgspec.convert(said, objects.PolicyObject), multi=True)
    made.change()
    assert complaints == []
    return made


def test_a_policy_for_another_network_is_for_that_network() -> None:
    pods = [attached(PODS[0], "x/blue", "x/red"), attached(PODS[1], "x/blue"), attached(PODS[4], "x/red"), PODS[2]]
    made = compile_multi(multi("blue", ingress=[{"from": [EVERYWHERE]}]), pods)
    assert [made.rules["x", each, ""] for each in "ac"] == [compiled.Rules(uid=uid) for uid in ("xa", "xc")]
    assert made.rules["x", "a", "x/blue"].ingress == made.rules["x", "b", "x/blue"].ingress
    assert ("x", "a", "x/red") not in made.rules
    assert [*made.sets.values()] == [{compiled.packed("10.1.0.1"), compiled.packed("10.1.1.1")}]


def test_rules_are_of_the_pod_with_a_uid_in_each_of_its_networks() -> None:
    """One that is made again, and has the same in all that policies look at, has the same rules of its own."""
    said, pod = multi("blue", ingress=[{"from": [EVERYWHERE]}]), attached(PODS[0], "x/blue")
    made = compile_multi(said, [pod, attached(PODS[1], "x/blue")])
    before = {place: each for place, each in made.rules.items() if place[1] == "a"}
    assert {each.uid for each in before.values()} == {"xa"}
    made.put_pod(msgspec.convert({**pod, "metadata": {**pod["metadata"], "uid": "new"}}, objects.PodObject))
    again = {place: compiled.Rules(each.ingress, each.egress, "new") for place, each in before.items()}
    assert made.change() == compiled.PolicyChange(rules=again)


@pytest.mark.parametrize(
    ("annotations", "uid", "told"),
    [
        ({"kubernetes.io/config.mirror": "0123abcd"}, "4f5e6d7c-0000-4000-8000-000000000000", "0123abcd"),
        (
            {"kubernetes.io/config.hash": "0123abcd"},
            "4f5e6d7c-0000-4000-8000-000000000000",
            "4f5e6d7c-0000-4000-8000-000000000000",
        ),
        ({"kubernetes.io/config.mirror": "what nobody is; named so"}, "4f5e6d7c", ""),
        ({"kubernetes.io/config.mirror": "0" * 129}, "4f5e6d7c", ""),
    ],
)
def test_the_uid_of_a_static_pod_is_what_its_kubelet_says(annotations: Json, uid: str, told: str) -> None:
    """The API server has a mirror of it. One that no daemon would take is none, and keeps no other pod's rules out."""
    pod = {**PODS[0], "metadata": {**PODS[0]["metadata"], "uid": uid, "annotations": annotations}}
    made, complaints = small_cluster.compile_all([policy("x")], [pod])
    assert (made.rules["x", "a", ""].uid, complaints) == (told, [])
    assert policy_frames.FORMAT.decoded(msgspec.msgpack.encode(made.whole())).whole


def test_what_the_api_server_does_not_serve_is_not_watched() -> None:
    """The table says so, and has none of it; a list that is empty is another thing."""
    both = tuple(sorted(compiled.PolicyKind))
    said = multi("blue", ingress=[])
    made = compile_multi(said, [attached(PODS[0], "x/blue")])
    assert made.whole().kinds == ("NetworkPolicy",)
    made.only(objects.MultiPolicyObject, {("x", "multi")})
    assert made.change() == compiled.PolicyChange(kinds=both)
    assert ("x", "a", "x/blue") in made.rules
    made.absent(objects.MultiPolicyObject)
    change = made.change()
    assert (change.kinds, change.gone_rules) == (("NetworkPolicy",), (("x", "a", "x/blue"),))
    made.only(objects.MultiPolicyObject, set())
    assert made.change() == compiled.PolicyChange(kinds=both)


@pytest.mark.parametrize(
    ("policy_for", "networks", "is_said"),
    [
        ("x/blue", ("x/blue", "y/blue"), True),
        ("y/blue", ("x/blue", "y/blue", "x/red"), True),
        ("x/blue, y/blue", ("x/blue", "y/blue"), False),
        ("x/blue", ("x/blue", "y/red"), False),
        ("x/red", ("x/blue", "y/blue", "x/red"), False),
    ],
)
def test_networks_of_one_name_that_have_not_the_same_policies_are_said(
    policy_for: str, networks: tuple[str, ...], is_said: bool
) -> None:
    made, complaints = small_cluster.compile_all([], [attached(PODS[0], *networks)])
    made.put_policy(msgspec.convert(multi(policy_for, ingress=[]), objects.PolicyObject), multi=True)
    made.change()
    start = "Pod x/a: its networks x/blue and y/blue have one name, and the CNI daemon cannot tell them apart"
    assert [each.startswith(start) for each in complaints] == [True] * is_said


def test_a_pod_that_names_thousands_of_addresses_has_a_few() -> None:
    """Who writes its annotation would fill the node's table, and could name every address there is."""
    pod = attached(PODS[1], "x/blue")
    status = [{"name": "x/blue", "ips": [f"10.9.{each >> 8}.{each & 255}" for each in range(5000)]}]
    pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = msgspec.json.encode(status).decode()
    made = compile_multi(multi("blue", ingress=[{"from": [EVERYWHERE]}]), [attached(PODS[0], "x/blue"), pod])
    assert [len(each) for each in made.sets.values()] == [17], "one of the other pod's"


@pytest.mark.parametrize(
    "asked",
    [
        "blue",
        "x/blue@net1",
        ' red , "blue"'.replace('"', ""),
        '[{"name": "blue"}]',
        '[{"name":"blue","namespace":"x"}]',
    ],
)
def test_a_pod_has_its_rules_before_it_has_its_network(asked: str) -> None:
    made = compile_multi(multi("x/blue"), [attached(PODS[0], asked=asked)])
    assert made.rules["x", "a", "x/blue"].ingress is not None


def test_annotations_that_cannot_be_read_are_said() -> None:
    pod = attached(PODS[0])
    pod["metadata"]["annotations"] = {"k8s.v1.cni.cncf.io/network-status": "[{", "k8s.v1.cni.cncf.io/networks": "[[["}
    _, complaints = small_cluster.compile_all([], [pod, moved(PODS[1], "10.0.0")])
    assert [each.partition(":")[0] for each in complaints] == ["Pod x/a", "Pod x/a", "Pod x/b"]


def test_addresses_that_are_none_are_one_line_a_pod() -> None:
    """Who may write its annotation would fill the log."""
    pod = copy.deepcopy(attached(PODS[1], "x/blue", "x/red"))
    ips = ["10.9.0.1", "x" * 5000, *map(str, range(10))]
    status = [{"name": name, "ips": ips} for name in ("x/blue", "x/red")]
    pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = msgspec.json.encode(status).decode()
    pod["status"]["podIPs"].append({"ip": "10.0.0"})
    complaints: list[str] = []
    facts = pods.facts(msgspec.convert(pod, objects.PodObject), complaints.append)
    assert complaints == [
        "Pod x/b: '10.0.0' is no IP address, and 22 others like it; left out, the rest is used",
    ]
    assert facts is not None
    assert facts.addresses["x/blue"] == facts.addresses["x/red"] == (compiled.packed("10.9.0.1"),)
    ips[0] = "y" * 5000
    pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = msgspec.json.encode(status).decode()
    pod["status"]["podIPs"].clear()
    pods.facts(msgspec.convert(pod, objects.PodObject), complaints.append)
    assert len(complaints[1]) < 200


@pytest.mark.parametrize("before", [{}, {"k8s.v1.cni.cncf.io/networks": "blue"}])
def test_a_bad_annotation_of_a_pod_takes_it_out_of_no_policy(before: Json) -> None:
    """Whichever network it has: it may run already, on one that nobody can read any more."""
    pod = {**PODS[0], "metadata": {**PODS[0]["metadata"], "annotations": before}}
    made, complaints = small_cluster.compile_all([], [pod])
    made.put_policy(msgspec.convert(multi("blue", policyTypes=["Ingress"]), objects.PolicyObject), multi=True)
    bad = {"k8s.v1.cni.cncf.io/networks": "[[[", "k8s.v1.cni.cncf.io/network-status": "[{"}
    spoilt = {**pod, "metadata": {**pod["metadata"], "annotations": bad}}
    made.put(msgspec.convert(spoilt, objects.PodObject))
    made.change()
    assert made.rules["x", "a", "x/blue"].ingress is not None
    later = multi("red", policyTypes=["Egress"])
    later["metadata"]["name"] = "later"
    made.put_policy(msgspec.convert(later, objects.PolicyObject), multi=True)
    made.change()
    assert made.rules["x", "a", "x/red"].egress is not None
    assert len(complaints) == 2
    made.put(msgspec.convert(pod, objects.PodObject))
    made.change()
    assert [place for place in made.rules if place[2]] == ([("x", "a", "x/blue")] if before else [])


def test_a_policy_for_no_network_is_said() -> None:
    complaints: list[str] = []
    made = view.PolicyView("here", complaints.append)
    made.put_policy(msgspec.convert(multi(" ,"), objects.PolicyObject), multi=True)
    assert "names no network" in complaints[0]
    made.put_policy(msgspec.convert(multi("blue, Red!"), objects.PolicyObject), multi=True)
    assert "names no network by 'x/Red!'" in complaints[1], "a name that nobody's network has, and no daemon takes"


def test_a_grant_of_thousands_of_named_ports_has_a_name_that_is_taken() -> None:
    """Anybody who may make a pod may give it these."""
    names = [f"port-{number}" for number in range(3000)]
    told = [{"name": name, "containerPort": 1 + number} for number, name in enumerate(names)]
    pod = {**PODS[0], "spec": {**PODS[0]["spec"], "containers": [{"ports": told}]}}
    said = policy("x", ingress=[{"ports": [{"port": name} for name in names]}])
    made, complaints = small_cluster.compile_all([said], [pod])
    policy_frames.FORMAT.decoded(msgspec.msgpack.encode(made.whole()))
    assert complaints == []
    assert len(next(iter(made.grants.values())).openings[0].ports or ()) == 3000
