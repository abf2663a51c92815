"""policy answers what may pass and by which policy, by the daemon's table, and whether the kernel has just that."""

import contextlib
import ipaddress
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import msgspec
import pytest

from sriov import errors
from sriov.cluster import policies
from sriov.cluster.policies import Grant, Opening, PortSpan, Rules, Transport
from sriov.linux import kernel
from sriov.state import ledger, policy_notes
from sriovctl import exit_codes
from tests.examples import pages, table
from tests.fakes import policy_source
from tests.kernel import namespaces
from tests.sriovctl import nodes, test_page
from tests.sriovctl.commands import test_doctor

FRONT, SIX = map(policies.packed, ("10.1.0.9", "2001:db8::9"))
TABLE = "sriov-policy-net1"
ITEM = {"interface", "network", "direction", "peers", "ports", "passes", "reason", "policies"}
BLOCK = policies.Span(*map(policies.packed, ("10.9.0.0", "10.9.255.255")))
PART = policies.Span(*map(policies.packed, ("10.8.0.3", "10.8.0.9")))
GRANTS = {
    "front": Grant("default/from-front", (Opening(("0123456789abcdef",), (), (PortSpan(Transport.TCP, 80, 80),)),)),
    "any": Grant("default/dns", (Opening((), policies.EVERYWHERE, (PortSpan(Transport.UDP, 53, 53),)),)),
    "net": Grant(
        "default/net",
        (
            Opening(
                ("0123456789abcdef",), (BLOCK, PART), (PortSpan(Transport.TCP, 8000, 8080), PortSpan(Transport.SCTP))
            ),
            Opening(("fedcba9876543210",)),
        ),
    ),
}
SETS = {"0123456789abcdef": frozenset({FRONT, SIX}), "fedcba9876543210": frozenset[bytes]()}


def selecting(rules: Rules) -> policies.PolicyTable:
    named = {name for each in (rules.ingress, rules.egress) for name in each or ()}
    grants = {name: each for name, each in GRANTS.items() if name in named}
    used = {name for grant in grants.values() for opening in grant.openings for name in opening.sets}
    sets = {name: each for name, each in SETS.items() if name in used}
    return policies.PolicyTable(sets, grants, {("default", "web", ""): rules})


@pytest.fixture
def held(node: nodes.Node) -> Iterator[nodes.Node]:
    """Pod web on a VF: `front` and `any` are for what comes to it; what it sends no policy is about."""
    node.put_policies(selecting(Rules(("any", "front"))))
    node.give("web", node.vf)
    with node.serving(), node.kubelet():
        assert node.cni("ADD", policy="kubernetes").code == 0
        yield node


def asked(node: nodes.Node, *arguments: str) -> list[tuple[object, ...]]:
    ran = node.run("policy", "web", *arguments, "-o", "json")
    document = ran.document
    assert (document["kind"], document["about"]) == ("PodPolicy", "default/web")
    assert [each["inForce"] for each in document["interfaces"]] == [True], document["interfaces"]
    assert all(set(each) == ITEM for each in document["items"])
    passing = all(each["passes"] for each in document["items"])
    assert ran.status == (0 if passing or not arguments else exit_codes.Exit.TROUBLE)
    keys = ("direction", "peers", "ports", "passes", "reason", "policies")
    return [tuple(each[key] for key in keys) for each in document["items"]]


def test_all_that_may_pass_is_listed(held: nodes.Node) -> None:
    assert asked(held) == [
        ("ingress", None, ["UDP 53"], True, "policy", ["default/dns"]),
        ("ingress", ["10.1.0.9", "2001:db8::9"], ["TCP 80"], True, "policy", ["default/from-front"]),
        ("ingress", None, None, False, "isolated", ["default/dns", "default/from-front"]),
        ("egress", None, None, True, "unselected", []),
    ]


BOTH = ["default/dns", "default/from-front"]


@pytest.mark.parametrize(
    ("arguments", "answers"),
    [
        ("--from 10.1.0.9 --port 80", [("10.1.0.9", ["TCP 80"], True, "policy", BOTH[1:])]),
        ("--from ::ffff:10.1.0.9 --port 80/TCP", [("10.1.0.9", ["TCP 80"], True, "policy", BOTH[1:])]),
        ("--from 2001:db8::9 --port 80", [("2001:db8::9", ["TCP 80"], True, "policy", BOTH[1:])]),
        ("--from 10.1.0.9 --port 81", [("10.1.0.9", ["TCP 81"], False, "isolated", BOTH)]),
        ("--from 10.1.0.9 --port 80/udp", [("10.1.0.9", ["UDP 80"], False, "isolated", BOTH)]),
        ("--from 10.1.0.9 --port icmp", [("10.1.0.9", ["no port"], False, "isolated", BOTH)]),
        ("--from 10.1.0.20 --port 80", [("10.1.0.20", ["TCP 80"], False, "isolated", BOTH)]),
        (
            "--from 10.1.0.9",
            [("10.1.0.9", ["UDP 53"], True, "policy", BOTH[:1]), ("10.1.0.9", ["TCP 80"], True, "policy", BOTH[1:])],
        ),
        ("--from 10.1.0.20", [("10.1.0.20", ["UDP 53"], True, "policy", BOTH[:1])]),
        (
            "--from 10.1.0.20 --from 10.1.0.9 --port 53/udp",
            [(each, ["UDP 53"], True, "policy", BOTH[:1]) for each in ("10.1.0.20", "10.1.0.9")],
        ),
        ("--to 192.0.2.1 --port 443", [("192.0.2.1", ["TCP 443"], True, "unselected", [])]),
    ],
)
def test_a_question_is_answered_by_the_policies_that_let_it_pass_or_do_not(
    held: nodes.Node, arguments: str, answers: list[tuple[object, ...]]
) -> None:
    found = asked(held, *arguments.split())
    assert [(*(peers or [None]), *rest) for _, peers, *rest in found] == answers  # type: ignore[misc]
    direction = "ingress" if "--from" in arguments else "egress"
    assert {each[0] for each in found} == {direction}


def test_blocks_sets_and_all_protocols(node: nodes.Node) -> None:
    node.put_policies(selecting(Rules(None, ("net",))))
    with node.serving():
        assert node.cni("ADD", policy="kubernetes").code == 0
        rows = asked(node)
        assert rows[1:] == [
            ("egress", ["10.1.0.9", "2001:db8::9", "10.9.0.0/16", "10.8.0.3-10.8.0.9"], ["TCP 8000-8080", "SCTP"], True,
             "policy", ["default/net"]),
            ("egress", [], None, True, "policy", ["default/net"]),
            ("egress", None, None, False, "isolated", ["default/net"]),
        ]  # fmt: skip
        assert asked(node, "--to", "10.9.7.7", "--port", "7/sctp")[0][3] is True
        assert asked(node, "--to", "10.8.0.9", "--port", "8080")[0][3] is True
        assert asked(node, "--to", "10.8.0.10", "--port", "8080")[0][3] is False
        text = node.run("policy", "web").out
    assert "nobody yet" in text
    assert "10.1.0.9, 2001:db8::9, 10.9.0.0/16, 10.8.0.3-10.8.0.9" in text


@pytest.mark.parametrize(
    "example", table.run_by(__file__, "test_the_page_shows_what_is_printed"), ids=lambda each: each.command
)
def test_the_page_shows_what_is_printed(node: nodes.Node, example: pages.Example) -> None:
    node.put_policies(test_page.web_policies())
    if "doctor" in example.command:  # a pod has changed its rules, which takes a namespace that is one
        about = {"namespace": "default", "pod": "web", "interface": "net1", "netns": (0, 0)}
        note = msgspec.convert({**about, "repairs": 3, "repaired": time.time()}, policy_notes.PolicyNote)
        node.enforcement = policy_source.NotedEnforcement(note)
    with contextlib.closing(test_doctor.Sick(node)), node.kubelet(), node.serving():
        assert node.cni("ADD", policy="kubernetes").code == 0
        assert namespaces.until(lambda: policy_notes.NoteFile(node.folder / "run").read() is not None)
        if "not in force" in example.printed:
            node.bench.machine.nft[node.bench.pod.identity].flush()
        ran = node.run(*example.command.split()[1:])
    assert test_page.normal(ran.out + ran.err, node.folder) == example.printed


def test_the_screen_names_the_policies_and_whether_the_kernel_has_them(held: nodes.Node) -> None:
    ran = held.run("policy", "web")
    assert ran.out.splitlines()[0].split() == ["INTERFACE", "DIRECTION", "PEER", "PORT", "PASSES", "BY"]
    assert re.search(r"^net1 +ingress +all others +all +no +none of default/dns, default/from-front$", ran.out, re.M)
    assert re.search(
        rf"\n\nnet1: in force: the table {TABLE} is in the pod, with the digest [0-9a-f]{{32}}\n$", ran.out
    )
    assert ran.status == exit_codes.Exit.FINE
    assert "kind: PodPolicy" in held.run("policy", "web", "-o", "yaml").out


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("delete table inet sriov-policy-net1", f"the table {TABLE} is not there"),
        (f"flush chain inet {TABLE} ingress", "rules, not "),
        (f"add element inet {TABLE} s4_0123456789abcdef {{ 10.1.0.66 }}", "has 1 addresses too many"),
        (f"delete chain inet {TABLE} enforced", "has no digest, not "),
    ],
)
def test_rules_that_are_not_what_is_wanted_are_told(held: nodes.Node, harm: str, told: str) -> None:
    held.bench.machine.nft[held.bench.pod.identity].run(harm)
    ran = held.run("policy", "web", "--from", "10.1.0.9", "--port", "80")
    assert ran.status == exit_codes.Exit.TROUBLE
    assert re.search(rf"^net1: not in force: .*{re.escape(told)}.*\nremedy: the CNI daemon", ran.out, re.M), ran.out
    [found] = held.run("policy", "web", "-o", "json").document["interfaces"]
    assert (found["interface"], found["device"], found["inForce"]) == ("net1", held.vf, False)
    steps = held.run("explain", "web", "-o", "json").document["items"]
    assert [(each["answer"], told in each["evidence"]) for each in steps if each["step"] == "policy"] == [("no", True)]


def test_a_change_that_is_just_coming_into_force_is_no_fault(held: nodes.Node) -> None:
    """The table on disk may be a second older than the rules."""
    ruleset = held.bench.machine.nft[held.bench.pod.identity]
    [made] = [each for each in ruleset.told if "create table" in each]
    ruleset.flush()
    looks = []

    def enter(path: str, identity: tuple[int, int]) -> AbstractContextManager[kernel.Kernel]:
        looks.append(path)
        if len(looks) == 2:
            ruleset.run(made)
        return held.enter(path, identity)

    ran = nodes.run(*held.places, "policy", "web", enter=enter)
    assert (ran.status, len(looks)) == (exit_codes.Exit.FINE, 2), ran


def refusing(path: str, _identity: tuple[int, int]) -> AbstractContextManager[kernel.Kernel]:
    raise errors.NetnsError(f"cannot enter {path}: Operation not permitted", "CAP_SYS_ADMIN is needed")


def noted(node: nodes.Node, **keys: Any) -> policy_notes.NoteFile:
    """The daemon's notes, of which it writes no more."""
    [record] = node.bench.book.records()
    digest = node.bench.machine.nft[record.netns].comment(TABLE, "enforced")
    note = policy_notes.PolicyNote(namespace="default", pod="web", interface="net1", netns=record.netns, digest=digest)
    looked = keys.pop("looked", time.time())
    file = policy_notes.NoteFile(node.folder / "run")
    file.write(policy_notes.PolicyNotes(looked=looked, pods=(msgspec.structs.replace(note, **keys),)))
    return file


@pytest.mark.parametrize(
    ("keys", "in_force", "told"),
    [
        ({}, True, "is in the pod, with the digest"),
        ({"digest": ""}, False, "the CNI daemon has put other rules in force, as of 20"),
        ({"problem": "it rains"}, False, "it rains"),
        ({"digest": None}, None, "Operation not permitted; the CNI daemon looked last at 20"),
        ({"looked": 86400.0}, None, "Operation not permitted; the CNI daemon looked last at 1970-01-02T00:00:00Z"),
        (
            {"interface": "net2"},
            None,
            "Operation not permitted; the CNI daemon has not written down what is in the pod",
        ),
    ],
)
def test_who_may_not_enter_the_pod_takes_what_the_daemon_saw(
    node: nodes.Node, keys: dict[str, Any], in_force: bool | None, told: str
) -> None:
    node.put_policies(selecting(Rules(("any",))))
    node.give("web", node.vf)
    with node.serving(), node.kubelet():
        assert node.cni("ADD", policy="kubernetes").code == 0
    with node.kubelet():
        noted(node, **keys)
        ran = nodes.run(*node.places, "policy", "web", "-o", "json", enter=refusing)
    [found] = ran.document["interfaces"]
    assert (found["inForce"], told in found["evidence"]) == (in_force, True), found
    assert ran.status == {True: 0, False: 1, None: 3}[in_force]
    assert [each["passes"] for each in ran.document["items"]] == [True, False, True], "by the daemon's table"
    assert bool(ran.document["unseen"]) == (in_force is None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "there is no {}: no agent has sent the policies yet"),
        (b"sriov-underlay policies 1\n1234abc", "{} cannot be used: it is damaged, or another release's"),
    ],
)
def test_a_table_that_cannot_be_read_leaves_the_answer_open(held: nodes.Node, content: bytes | None, told: str) -> None:
    path = held.folder / "policies"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    told = told.format(path)
    ran = held.run("policy", "web", "--from", "10.1.0.9", "-o", "json")
    assert ran.status == exit_codes.Exit.UNREADABLE
    assert [(each["passes"], each["reason"]) for each in ran.document["items"]] == [(None, "unknown")]
    assert (len(ran.document["unseen"]), told in ran.document["unseen"][0]) == (1, True), ran.document["unseen"]
    text = held.run("policy", "web").out
    assert f"net1: cannot tell whether it is in force: {told}" in text
    assert re.search(r"^net1 +ingress +all +all +cannot tell +its policies are not known$", text, re.M), text
    explained = held.run("explain", held.vf)
    assert explained.status == exit_codes.Exit.UNREADABLE
    assert explained.out.endswith("no fault was found, but this cannot be told from here: policy\n"), explained.out
    doctor = held.run("doctor", "-o", "json").document["unseen"]
    assert [each for each in doctor if each.startswith("network policies: ") and told in each] != [], doctor


@pytest.mark.parametrize(
    ("unknown", "passes", "reason", "in_force"),
    [("deny", False, "isolated", True), ("allow", True, "unselected", True), ("refuse", None, "unknown", None)],
)
def test_a_pod_of_which_the_agent_tells_nothing_has_what_its_network_says(
    node: nodes.Node, unknown: str, passes: bool | None, reason: str, in_force: bool | None
) -> None:
    node.put_policies(policies.PolicyTable())
    with node.serving():
        asked_for = "deny" if unknown == "refuse" else unknown
        assert node.cni("ADD", policy="kubernetes", policyUnknown=asked_for).code == 0
        [record] = node.bench.book.records()
        assert record.policy is not None
        hold = msgspec.structs.replace(record.policy, unknown=unknown)
        node.bench.book.write(msgspec.structs.replace(record, policy=hold))
        ran = node.run("policy", "web", "-o", "json")
    assert {(each["passes"], each["reason"]) for each in ran.document["items"]} == {(passes, reason)}
    [found] = ran.document["interfaces"]
    assert (found["inForce"], "the agent tells nothing of this pod" in found["evidence"]) == (in_force, True), found


def test_a_pod_whose_policies_nobody_watches_any_more_is_told_so(node: nodes.Node) -> None:
    watched = msgspec.structs.replace(selecting(Rules()), kinds=frozenset(policies.PolicyKind))
    node.put_policies(watched)
    with node.serving():
        assert node.cni("ADD", policy="multi").code == 0
        node.put_policies(msgspec.structs.replace(watched, kinds=frozenset({policies.PolicyKind.NETWORK})))
        ran = node.run("policy", "web", "-o", "json")
    [found] = ran.document["interfaces"]
    told = "the agent does not watch MultiNetworkPolicy; the rules that it had stay"
    assert (ran.status, found["inForce"], found["evidence"]) == (exit_codes.Exit.UNREADABLE, None, told), found


def test_a_pod_that_is_closed_has_no_policy_that_would_say_so(node: nodes.Node) -> None:
    """As one with more policies than a node takes: the agent lets nothing pass, by none of them."""
    node.put_policies(policies.PolicyTable(rules={("default", "web", ""): Rules(())}))
    with node.serving():
        assert node.cni("ADD", policy="kubernetes").code == 0
        ran = node.run("policy", "web", "--from", "10.1.0.9")
    assert re.search(r"^net1 +ingress +10\.1\.0\.9 +all +no +closed, whatever its policies are$", ran.out, re.M), ran
    assert "net1: in force: " in ran.out


def test_a_pod_of_which_the_agent_tells_nothing_any_more_may_keep_what_it_had(node: nodes.Node) -> None:
    node.put_policies(selecting(Rules(("any",))))
    with node.serving():
        assert node.cni("ADD", policy="kubernetes", policyUnknown="allow").code == 0
        node.put_policies(policies.PolicyTable())
        ran = node.run("policy", "web", "-o", "json")
    [found] = ran.document["interfaces"]
    assert (ran.status, found["inForce"]) == (exit_codes.Exit.UNREADABLE, None), found
    assert "the agent tells nothing of this pod, policyUnknown is allow; the table" in found["evidence"]


def test_a_pod_without_policies_in_its_network_is_told_so(node: nodes.Node) -> None:
    with node.serving():
        assert node.cni("ADD").code == 0
        ran = node.run("policy", "web", "--to", "10.1.0.9", "--port", "80")
        steps = {each["step"] for each in node.run("explain", "web", "-o", "json").document["items"]}
    assert (ran.status, ran.err) == (0, "")
    assert re.search(r"^net1 +egress +10.1.0.9 +TCP 80 +yes +its network has no `policy`$", ran.out, re.M), ran.out
    assert "policy" not in steps


def test_a_pod_that_no_policy_selects_has_no_table(node: nodes.Node) -> None:
    node.put_policies(selecting(Rules()))
    with node.serving():
        assert node.cni("ADD", policy="kubernetes").code == 0
        text = node.run("policy", "web").out
    assert text.endswith("\nnet1: in force: no policy selects the pod, and there are no rules\n")
    assert len(re.findall(r"yes +no policy selects it for (?:in|e)gress$", text, re.M)) == 2


def test_the_node_reaches_the_pod_by_the_host_link(held: nodes.Node) -> None:
    [record] = held.bench.book.records()
    link = ledger.HostLink(name="svl1", address="", inside="host0", inside_address="", nodes=("192.0.2.10",))
    held.bench.book.write(msgspec.structs.replace(record, host_link=link))
    items = held.run("policy", "web", "-o", "json").document["items"]
    assert (items[0]["peers"], items[0]["reason"], items[0]["passes"]) == (["192.0.2.10"], "node", True)
    text = held.run("policy", "web", "--from", "192.0.2.10", "--port", "80").out
    assert re.search(r"yes +the node, by the host link$", text, re.M), text


def test_a_peer_may_be_a_pod_of_this_node(held: nodes.Node) -> None:
    with held.enter(held.bench.machine.path("pod"), held.bench.pod.identity) as inner:
        for each in ("10.1.0.9/24", "fe80::1/64"):
            inner.add_address(inner.link("net1").index, ipaddress.ip_interface(each))
    [found] = asked(held, "--from", "web", "--port", "80")
    assert found[1:4] == (["10.1.0.9"], ["TCP 80"], True)
    ran = nodes.run(*held.places, "policy", "web", "--from", "web", enter=refusing)
    assert ran.status == exit_codes.Exit.USAGE
    assert "Operation not permitted: write the address of web itself" in ran.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            "--from nobody",
            "'nobody' is neither an IP address nor a pod with a VF on this node: write the peer's address",
        ),
        ("--to 10.1.0.0/24", "'10.1.0.0/24' is neither an IP address nor a pod"),
        ("--port 80", "--port asks about a peer: name it with --from or --to"),
        *(
            (f"--from 10.1.0.9 --port {each}", f"{each!r} is no port: write a number from 1 to 65535, with /tcp")
            for each in ("0", "65536", "80/xyz", "http", "-1", "9" * 5000, "\u0663")
        ),
    ],
)
def test_a_question_that_is_none_is_refused(held: nodes.Node, arguments: str, told: str) -> None:
    ran = held.run("policy", "web", *arguments.split())
    assert (ran.status, ran.out) == (exit_codes.Exit.USAGE, "")
    assert told in " ".join(ran.err.split()), ran.err


def test_a_pod_that_is_not_here_is_an_error_with_the_next_step(held: nodes.Node) -> None:
    ran = held.run("policy", "shop/other")
    assert (ran.status, ran.out) == (exit_codes.Exit.UNREADABLE, "")
    assert ran.err == "sriovctl: pod shop/other has no VF on this node; see `sriovctl explain shop/other`\n"


def test_explain_says_whether_policies_are_in_force(held: nodes.Node) -> None:
    [step] = [each for each in held.run("explain", "web", "-o", "json").document["items"] if each["step"] == "policy"]
    assert (step["question"], step["answer"]) == ("are its network policies in force?", "yes")
    start = f"ingress: what 2 policies let pass, egress: everything; the table {TABLE} is in the pod"
    assert step["evidence"].startswith(start)
