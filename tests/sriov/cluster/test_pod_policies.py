"""Policies of one pod in one of its networks: whose rules they are, and of which networks."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sriov.cluster import pod_policies, policies

SOME = st.one_of(st.none(), st.lists(st.sampled_from("abc"), unique=True).map(tuple))


@given(st.lists(st.builds(policies.Rules, SOME, SOME), max_size=3))
def test_of_networks_with_one_name_none_lets_pass_what_another_denies(networks: list[policies.Rules]) -> None:
    places = {("x", "a", f"n{number}/blue"): each for number, each in enumerate(networks)}
    grants = {each: policies.Grant(f"x/{each}") for each in "abc"}
    table = policies.PolicyTable(
        {}, grants, {("x", "a", ""): policies.Rules(), **places}, frozenset(policies.PolicyKind)
    )
    found = pod_policies.of(table, "x", "a", "blue")
    assert found is not None
    for direction in policies.PolicyDirection:
        each_opens = [each.of(direction) for each in networks]
        for name, grant in grants.items():
            opens = (granted := found.of(direction)) is None or grant in granted
            assert opens == all(its is None or name in its for its in each_opens)


def test_a_pod_with_another_uid_is_another_pod() -> None:
    table = policies.PolicyTable(
        rules={("x", "a", ""): policies.Rules((), None, "1"), ("x", "b", ""): policies.Rules()}
    )
    assert (
        pod_policies.of(table, "x", "a", "", "1") == pod_policies.of(table, "x", "a", "") == pod_policies.PodPolicy(())
    )
    assert pod_policies.of(table, "x", "a", "", "2") is None
    assert pod_policies.of(table, "x", "b", "", "2") == pod_policies.EVERYTHING, "of a table without UIDs"


def test_nothing_is_known_of_a_pod_in_a_network_whose_policies_nobody_watches() -> None:
    table = policies.PolicyTable(rules={("x", "a", ""): policies.Rules()})
    assert pod_policies.of(table, "x", "a", "") == pod_policies.EVERYTHING
    assert pod_policies.of(table, "x", "a", "blue") is None
    assert (pod_policies.unwatched(table, ""), pod_policies.unwatched(table, "blue")) == ("", "MultiNetworkPolicy")
    watched = msgspec.structs.replace(table, kinds=frozenset(policies.PolicyKind))
    assert pod_policies.of(watched, "x", "a", "blue") == pod_policies.EVERYTHING
    assert pod_policies.unwatched(watched, "blue") == ""
