"""A table that is too large: who feels it, and that whatever is left is a table that a daemon takes."""

import copy

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from sriov.cluster import policies, policy_changes, policy_frames
from sriov.cluster.policies import Grant, Opening, Place, PolicyTable, Rules
from sriov_agent.policies import fitting, objects, view
from tests.sriov_agent.policies import small_cluster, test_truth_table
from tests.sriov_agent.policies.oracle import Json
from tests.sriov_agent.policies.small_cluster import PODS, policy

NAMES = [f"{number:016x}" for number in range(8)]
GRANTS = [f"g{number}" for number in range(6)]


@st.composite
def tables(draw: st.DrawFn) -> PolicyTable:
    """Some pods of two namespaces in some networks, with some grants of some sets, which they share."""
    sets = {name: frozenset(draw(st.sets(st.binary(min_size=4, max_size=4), max_size=5))) for name in NAMES}
    grants = {
        name: Grant("x/p", (Opening(tuple(draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True)))),))
        for name in GRANTS
    }
    some = st.none() | st.lists(st.sampled_from(GRANTS), max_size=4, unique=True).map(tuple)
    places = st.tuples(st.sampled_from("xy"), st.sampled_from("ab"), st.sampled_from(["", "x/n", "x/m"]))
    rules: dict[Place, Rules] = draw(st.dictionaries(places, st.builds(Rules, some, some), max_size=8))
    return fitting._with(PolicyTable(sets, grants, rules), rules)


ROOMS = st.builds(
    fitting.TableRoom,
    st.integers(1, 8), st.integers(1, 30), st.integers(1, 6), st.integers(1, 8), st.integers(2500, 4000),
    st.integers(2, 20), st.integers(3, 15),
)  # fmt: skip


@hypothesis.settings(max_examples=400, deadline=None)
@hypothesis.given(tables(), ROOMS)
def test_what_is_left_fits_and_says_of_each_pod_all_or_nothing(table: PolicyTable, room: fitting.TableRoom) -> None:
    made = fitting.fitted(table, {name: fitting.measured(name, each) for name, each in table.grants.items()}, room)
    left = made.table
    policy_changes.check_names(left)
    assert len(left.sets) <= room.sets
    assert len(left.grants) <= room.grants
    assert len(left.rules) <= room.places
    assert sum(map(len, left.sets.values())) <= room.addresses
    assert len(policy_frames.FORMAT.encoded(policy_changes.whole(left))) <= room.size
    assert {place for place in table.rules if place[:2] not in made.unknown} == left.rules.keys()
    for place, rules in left.rules.items():
        sets = {each for name in policy_changes.grants_of(rules) for each in policy_changes.sets_of(left.grants[name])}
        assert sum(len(left.sets[each]) for each in sets) <= room.pod_addresses
        assert sum(_parts(left.grants[name]) for name in policy_changes.grants_of(rules)) <= room.pod_parts
        if place in made.closed:
            for direction in policies.PolicyDirection:
                assert rules.of(direction) == (None if table.rules[place].of(direction) is None else ())
        else:
            assert rules == table.rules[place]
    for name, grant in left.grants.items():
        assert grant == table.grants[name]
        assert all(left.sets[each] == table.sets[each] for each in policy_changes.sets_of(grant))
    if not (made.closed or made.unknown):
        assert left == table


def _parts(grant: Grant) -> int:
    return sum(1 + len(each.sets) + len(each.blocks) for each in grant.openings)


def crowded(*crowds: str) -> PolicyTable:
    """Pod a of x has two addresses to speak of, each of these pods of y three others."""
    own = {"x": ("0" * 16, 2), **{pod: (f"{number:016x}", 3) for number, pod in enumerate(crowds, 1)}}
    sets = {name: frozenset(bytes((9, number, 0, each)) for each in range(count)) for number, (name, count) in
            enumerate(own.values())}  # fmt: skip
    grants = {each: Grant(f"x/{each}", (Opening((name,)),)) for each, (name, _) in own.items()}
    rules = {("x", "a", ""): Rules(("x",)), **{("y", pod, ""): Rules(("x", pod)) for pod in crowds}}
    return PolicyTable(sets, grants, rules)


def of(table: PolicyTable, **room: int) -> fitting.FittedTable:
    sizes = {name: fitting.measured(name, each) for name, each in table.grants.items()}
    return fitting.fitted(table, sizes, fitting.TableRoom(**room))


@pytest.mark.parametrize("room", [{"addresses": 8}, {"sets": 3}, {"grants": 3}])
def test_a_namespace_with_much_is_closed_before_one_with_little(room: dict[str, int]) -> None:
    made = of(crowded("a", "b", "c"), **room)
    assert made.closed == {("y", "c", "")}
    assert not made.unknown
    assert made.table.rules["y", "c", ""] == Rules(())
    assert not of(crowded("a", "b"), **room).closed


def test_what_is_closed_is_still_of_the_same_pod_and_kinds() -> None:
    table = crowded("a", "b", "c")
    known = {place: Rules(each.ingress, None, f"uid-{place[1]}") for place, each in table.rules.items()}
    made = of(PolicyTable(table.sets, table.grants, known, frozenset(policies.PolicyKind)), addresses=8)
    assert made.table.rules["y", "c", ""] == Rules((), None, "uid-c")
    assert made.table.kinds == frozenset(policies.PolicyKind)


def test_many_pods_of_one_namespace_do_not_push_one_of_another_out() -> None:
    """Each of them has less than that one."""
    sets = {f"{number:016x}": frozenset(bytes((9, number, 0, each)) for each in range(3 + (number == 0))) for number in
            range(4)}  # fmt: skip
    grants = {name: Grant("x/p", (Opening((name,)),)) for name in sets}
    places = [("x", "a", ""), ("y", "a", ""), ("y", "b", ""), ("y", "c", "")]
    table = PolicyTable(sets, grants, {place: Rules((name,)) for place, name in zip(places, sets, strict=True)})
    assert of(table, addresses=8).closed == {*places[2:]}


def test_addresses_count_by_their_bytes_too() -> None:
    sets = {"0" * 16: frozenset(bytes(14) + number.to_bytes(2, "big") for number in range(1000))}
    table = PolicyTable(sets, {"g": Grant("x/p", (Opening(("0" * 16,)),))}, {("x", "a", ""): Rules(("g",))})
    assert not of(table, size=20_000).closed
    made = of(table, size=18_000)
    assert made.closed == {("x", "a", "")}
    assert made.table == PolicyTable(rules={("x", "a", ""): Rules(())})


def test_a_pod_whose_own_rules_are_too_long_is_closed_and_no_other() -> None:
    """Whatever the node has room for: the daemon has all of a pod's rules in memory at once, as text and as objects."""
    blocks = tuple(policies.Span(bytes((9, 0, each, 0)), bytes((9, 0, each, 9))) for each in range(50))
    grants = {"long": Grant("x/long", (Opening((), blocks),)), "short": Grant("x/short", (Opening((), blocks[:20]),))}
    rules = {("x", pod, ""): Rules((grant,)) for pod, grant in (("a", "long"), ("b", "short"))}
    made = of(PolicyTable({}, grants, rules), pod_parts=50)
    assert made.closed == {("x", "a", "")}
    assert made.table == PolicyTable({}, {"short": grants["short"]}, {**rules, ("x", "a", ""): Rules(())})
    assert not of(PolicyTable({}, grants, rules), pod_parts=51).closed


def test_a_pod_of_too_many_networks_is_left_out_and_no_other() -> None:
    """A network that the table does not have is one without policies, so the pod itself has to be unknown."""
    rules = {("x", "a", ""): Rules(), **{("y", "b", f"y/n{number}"): Rules(()) for number in range(5)}}
    made = of(PolicyTable(rules={**rules, ("y", "b", ""): Rules(), ("y", "c", ""): Rules()}), places=6)
    assert made.unknown == {("y", "b")}
    assert made.table.rules.keys() == {("x", "a", ""), ("y", "c", "")}


def test_policies_that_are_too_large_close_the_pods_that_they_select_until_they_are_gone() -> None:
    """By the limits that a node has."""
    many = [{"podSelector": {"matchLabels": {"number": str(number)}}} for number in range(policy_frames.MOST_SETS)]
    large = policy("x", "large", podSelector=test_truth_table.A, ingress=[{"from": many}])
    allow: list[Json] = [{"from": [{"namespaceSelector": {}}]}]
    made, complaints = small_cluster.compile_all([policy("x", "own", ingress=allow), policy("y", ingress=allow)])
    before = copy.deepcopy(made.table)
    made.put_policy(msgspec.convert(large, objects.PolicyObject))
    table = policies.applied(before, made.change())
    policy_frames.fitting(table)
    assert table == made.table
    assert made.fitted.closed == {("x", "a", "")}
    assert complaints == ["Pod x/a: its policies are more than a node takes; what they isolate is closed"]
    for pod in PODS[1:6]:
        assert small_cluster.passes(made, "Ingress", pod, PODS[8], ("TCP", 80)) == {True}
    for direction, passes in (("Ingress", False), ("Egress", True)):
        assert small_cluster.passes(made, direction, PODS[0], PODS[8], ("TCP", 80)) == {passes}
    made.put_pod(msgspec.convert(PODS[1], objects.PodObject))
    assert made.change() == policies.PolicyChange()
    made.drop_policy(("x", "large"))
    assert policies.applied(table, made.change()) == made.table == before


def test_a_table_that_fits_is_not_made_again() -> None:
    made = view.PolicyView(small_cluster.NODE, lambda _: None)
    assert fitting.fitted(made.table, {}).table is made.table
