"""Policies of one pod in one of its networks: of which networks they are."""

from hypothesis import given
from hypothesis import strategies as st

from sriov.cluster import pod_policies, policies

SOME = st.one_of(st.none(), st.lists(st.sampled_from("abc"), unique=True).map(tuple))


@given(st.lists(st.builds(policies.Rules, SOME, SOME), max_size=3))
def test_of_networks_with_one_name_none_lets_pass_what_another_denies(networks: list[policies.Rules]) -> None:
    places = {("x", "a", f"n{number}/blue"): each for number, each in enumerate(networks)}
    grants = {each: policies.Grant(f"x/{each}") for each in "abc"}
    table = policies.PolicyTable({}, grants, {("x", "a", ""): policies.Rules(), **places})
    found = pod_policies.of(table, "x", "a", "blue")
    assert found is not None
    for direction in policies.PolicyDirection:
        each_opens = [each.of(direction) for each in networks]
        for name, grant in grants.items():
            opens = (granted := found.of(direction)) is None or grant in granted
            assert opens == all(its is None or name in its for its in each_opens)
