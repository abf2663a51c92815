"""Rules of nftables for a pod's policies: which there are, what changes with addresses, and that nft takes them all."""

import ipaddress
import itertools

import msgspec
import pytest

from sriov.cluster import pod_policies, policies
from sriov.cluster.policies import Grant, Opening, PortSpan, Span, Transport
from sriov_cni.dataplane.policies import policy_filter

NAME = "0123456789abcdef"
SCOPE = pod_policies.Scope("net1", 7, "host0", ("192.0.2.10", "2001:db8:2::10"))
ONE, OTHER, SIX = map(policies.packed, ("10.0.0.1", "10.0.0.2", "fd00::1"))
WEB = (PortSpan(Transport.TCP, 80, 80), PortSpan(Transport.TCP, 81, 81), PortSpan(Transport.UDP))


def pod(*openings: Opening, addresses: frozenset[bytes] = frozenset({ONE, SIX})) -> pod_policies.PodPolicy:
    return pod_policies.PodPolicy(ingress=(Grant("x/web", openings),), sets={NAME: addresses})


def made(policy: pod_policies.PodPolicy, scope: pod_policies.Scope = SCOPE) -> policy_filter.Filter:
    found = policy_filter.compiled(policy, scope)
    assert found is not None
    return found


def openings(found: policy_filter.Filter, chain: str = "ingress") -> list[str]:
    """The rules of the grants, which are between those that every pod has."""
    start = f"add rule inet sriov-policy-net1 {chain} "
    rules = [each.removeprefix(start) for each in found.lines if each.startswith(start)]
    return [
        each
        for each in rules[:-1]
        if not each.startswith(("ct ", "icmpv6 ", "iifname ", "oifname ", "exthdr ", "ip option "))
    ]


def test_a_pod_that_no_policy_selects_has_no_table() -> None:
    assert policy_filter.compiled(pod_policies.EVERYTHING, SCOPE) is None


def test_only_an_isolated_direction_has_chains() -> None:
    ingress, egress = made(pod_policies.PodPolicy(ingress=())), made(pod_policies.PodPolicy(egress=()))
    hooks = [
        {each.split("hook ")[1].split()[0] for each in deciding(one) if " hook " in each} for one in (ingress, egress)
    ]
    assert hooks == [{"input", "forward"}, {"output", "forward"}]
    for one, chain in ((ingress, "ingress"), (egress, "egress")):
        assert openings(one, chain) == []
        last = [each for each in one.lines if f"net1 {chain} " in each][-1]
        assert last.endswith(f"counter name {chain}-dropped drop")


def deciding(found: policy_filter.Filter) -> list[str]:
    """All but the chains behind them, which note what was let pass."""
    return [each for each in found.lines if " passed-" not in each]


def test_what_was_let_pass_is_noted_in_both_directions_and_lets_nothing_pass_itself() -> None:
    found = made(pod_policies.PodPolicy(ingress=()))
    noting = [each for each in found.lines if " passed-" in each]
    assert {each.split("hook ")[1].split()[0] for each in noting if " hook " in each} == {"input", "output", "forward"}
    assert all(each.endswith(" ct state new ct label set 25") for each in noting if " hook " not in each)
    assert [each for each in found.lines if "established" in each] == [
        "add rule inet sriov-policy-net1 ingress ct state established,related ct label 25 accept"
    ]


def test_labels_of_a_pods_vfs_differ() -> None:
    found = [made(pod_policies.NOTHING, pod_policies.Scope(f"net{number}")).lines for number in range(10)]
    labels = {next(each for each in lines if " label set " in each).rpartition(" ")[2] for lines in found}
    assert len(labels) == 10
    assert all(0 < int(each) < 128 for each in labels)


def test_an_opening_is_a_rule_for_each_version_and_protocol() -> None:
    found = openings(made(pod(Opening((NAME,), ports=WEB))))
    assert found == [
        f"ip saddr @s4_{NAME} tcp dport {{ 80-81 }} accept",
        f"ip saddr @s4_{NAME} meta l4proto udp accept",
        f"ip6 saddr @s6_{NAME} tcp dport {{ 80-81 }} accept",
        f"ip6 saddr @s6_{NAME} meta l4proto udp accept",
    ]


def test_blocks_are_intervals_and_everywhere_is_no_match() -> None:
    block = policies.network_span(ipaddress.ip_network("10.1.0.0/16"))
    single = Span(ONE, ONE)
    assert openings(made(pod(Opening(blocks=(block, single))))) == [
        "ip saddr { 10.0.0.1, 10.1.0.0-10.1.255.255 } accept"
    ]
    assert openings(made(pod(Opening(blocks=policies.EVERYWHERE)))) == ["accept"]
    assert openings(made(pod(Opening(blocks=policies.EVERYWHERE[:1])))) == ["meta nfproto ipv4 accept"]


def test_an_opening_without_peers_or_ports_opens_nothing() -> None:
    assert openings(made(pod(Opening(), Opening((NAME,), ports=())))) == []


def test_grants_that_say_the_same_are_one_rule() -> None:
    one = Opening((NAME,))
    twice = pod_policies.PodPolicy(ingress=(Grant("x/a", (one,)), Grant("x/b", (one,))), sets={NAME: frozenset()})
    assert len(openings(made(twice))) == 2  # IP versions


def test_the_node_passes_by_its_link_and_its_addresses_only() -> None:
    lines = made(pod_policies.NOTHING).lines
    said = [each for each in lines if "192.0.2.10" in each or "2001:db8:2::10" in each]
    assert len(said) == 4
    assert all('ifname "host0"' in each for each in said)
    assert not any("host0" in each for each in made(pod_policies.NOTHING, pod_policies.Scope("net1")).lines)


def test_a_change_of_addresses_is_elements_and_a_new_digest() -> None:
    before = made(pod(Opening((NAME,))))
    after = made(pod(Opening((NAME,)), addresses=frozenset({OTHER, SIX})))
    said = policy_filter.change(before, after)
    assert said is not None
    assert said.splitlines() == [
        "delete chain inet sriov-policy-net1 enforced",
        f'add chain inet sriov-policy-net1 enforced {{ comment "{after.digest}"; }}',
        f"delete element inet sriov-policy-net1 s4_{NAME} {{ 10.0.0.1 }}",
        f"add element inet sriov-policy-net1 s4_{NAME} {{ 10.0.0.2 }}",
    ]
    assert before.digest != after.digest
    assert policy_filter.change(before, made(pod(Opening((NAME,), ports=WEB)))) is None
    assert policy_filter.change(before, made(pod(Opening((NAME,))), msgspec.structs.replace(SCOPE, nodes=()))) is None


def test_the_digest_is_of_everything_but_the_mark() -> None:
    raw = msgspec.structs.replace(SCOPE, raw=True)
    every = [pod(Opening((NAME,))), pod(), pod(Opening((NAME,)), addresses=frozenset({ONE})), pod_policies.NOTHING]
    digests = {made(each, scope).digest for each, scope in itertools.product(every, (SCOPE, raw))}
    assert len(digests) == 8
    egress = made(pod_policies.NOTHING, raw)
    one, other = (policy_filter.commands(egress, mark, ["net1"]) for mark in (0x12345, 0x54321))
    assert one.replace("0x12345", "0x54321") == other
    assert one.count("meta mark set 0x12345 accept") > 2
    assert "{mark}" not in one


def test_raw_is_only_for_isolated_egress_and_devices_that_are_there() -> None:
    raw = msgspec.structs.replace(SCOPE, raw=True)
    assert "hook egress" not in policy_filter.commands(made(pod(), raw), 1 << 20, ["net1"])
    deny = made(pod_policies.NOTHING, raw)
    assert "hook egress" not in policy_filter.commands(deny, 1 << 20)
    assert policy_filter.commands(deny, 1 << 20, ["net1", "host0"]).count("hook egress") == 2
    assert policy_filter.raw_chain(raw, 1 << 20, "host0").count(" raw1 ") == 6


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        ("", policies.Rules(("a",), None)),
        ("blue", policies.Rules((), None)),
        ("red", policies.Rules(("d",), ("a",))),
        ("white", policies.Rules(("b", "c"), ())),
        ("green", policies.Rules()),
    ],
)
def test_a_pods_rules_are_found_by_its_network(network: str, wanted: policies.Rules) -> None:
    """A name in two namespaces is both: what one of them isolates is opened only by policies that are for both."""
    places = {
        ("x", "a", ""): policies.Rules(("a",), None),
        ("x", "a", "x/blue"): policies.Rules(("b",), None),
        ("x", "a", "y/blue"): policies.Rules(("c",), None),
        ("x", "a", "y/red"): policies.Rules(("c", "d"), None),
        ("x", "a", "z/red"): policies.Rules(("a", "d"), ("a",)),
        ("x", "a", "z/white"): policies.Rules(("b", "c"), ()),
        ("x", "b", ""): policies.Rules(),
    }
    grants = {each: Grant(f"x/{each}", (Opening((each,)),)) for each in "abcd"}
    sets = {each: frozenset({ONE}) for each in "abcd"}
    table = policies.PolicyTable(sets, grants, places, frozenset(policies.PolicyKind))
    found = pod_policies.of(table, "x", "a", network)
    assert found is not None
    for direction, granted in zip(policies.PolicyDirection, (found.ingress, found.egress), strict=True):
        names = wanted.of(direction)
        assert granted == (None if names is None else tuple(grants[each] for each in names))
    assert set(found.sets) == {*(wanted.ingress or ()), *(wanted.egress or ())}
    assert pod_policies.of(table, "x", "nobody", network) is None


def test_what_a_rule_names_and_the_table_lacks_lets_nothing_pass() -> None:
    table = policies.PolicyTable(rules={("x", "a", ""): policies.Rules(("gone",), None)})
    found = pod_policies.of(table, "x", "a", "")
    assert found is not None
    assert openings(made(found)) == []
