"""The table of policies: what changes it, whom that concerns, and what is refused."""

import contextlib
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov import errors
from sriov.cluster import framing, pod_policies, policies, policy_changes, policy_frames
from sriov.cluster.policies import (
    Grant,
    Opening,
    PolicyChange,
    PolicyKind,
    PolicyTable,
    PortSpan,
    Rules,
    SetChange,
    Span,
    Transport,
)

ONE, TWO = "0123456789abcdef", "fedcba9876543210"
ADDRESSES = [bytes((10, 0, 0, number)) for number in range(4)] + [bytes(16)]
PLACES: list[policies.Place] = [("x", "a", ""), ("x", "b", ""), ("x", "a", "x/blue")]
GRANTS = [
    Grant("x/p"),
    Grant("x/p", (Opening((ONE,)),)),
    Grant("x/q", (Opening((TWO,), (), (PortSpan(Transport.UDP),)),)),
]
RULES = [Rules(), Rules(()), Rules(("g",), ("h",)), Rules(None, ("g",)), Rules(None, ("g",), "other")]
KINDS = [frozenset[str](), frozenset({PolicyKind.NETWORK}), frozenset(PolicyKind)]
TABLES = st.builds(
    PolicyTable,
    st.fixed_dictionaries({name: st.frozensets(st.sampled_from(ADDRESSES)) for name in (ONE, TWO)}),
    st.fixed_dictionaries({name: st.sampled_from(GRANTS) for name in ("g", "h")}),
    st.dictionaries(st.sampled_from(PLACES), st.sampled_from(RULES)),
    st.sampled_from(KINDS),
)
TABLE = PolicyTable({ONE: frozenset(ADDRESSES)}, {"g": GRANTS[1]}, {("x", "a", ""): Rules(("g",))})


@given(TABLES, TABLES)
def test_a_difference_turns_the_old_table_into_the_new(old: PolicyTable, new: PolicyTable) -> None:
    change = policy_changes.difference(old, new)
    assert policies.applied(old, change) == new
    assert policies.applied(old, policy_changes.whole(new)) == new
    assert policy_changes.difference(new, new) == PolicyChange()
    for each in (change, policy_changes.whole(new)):
        sent = policy_frames.FORMAT.encoded(each)
        assert policy_frames.FORMAT.decoded(sent[framing.HEAD.size :]) == each
    policy_frames.fitting(new)


def _of_place(table: PolicyTable, place: policies.Place) -> Any:
    """All that a place's packets depend on."""
    rules = table.rules.get(place)
    grants = [table.grants[name] for name in policy_changes.grants_of(rules)] if rules is not None else []
    return rules, grants, [table.sets[name] for each in grants for opening in each.openings for name in opening.sets]


@given(TABLES, TABLES)
def test_a_change_concerns_whose_rules_grants_or_sets_it_changes(old: PolicyTable, new: PolicyTable) -> None:
    """And nobody else: of a node's pods, only these are written again. What is watched concerns all of them."""
    found = policy_changes.concerned(new, policy_changes.difference(old, new))
    changed = {place for place in PLACES if _of_place(old, place) != _of_place(new, place)}
    assert found == (changed if old.kinds == new.kinds else changed | new.rules.keys())


def test_any_number_of_names_that_are_gone_takes_no_time() -> None:
    """They are as many as a frame has room for, and nobody has ever had them."""
    gone = [f"{number}" for number in range(30_000)]
    change = PolicyChange(gone_sets=(*gone,), gone_grants=(*gone,), gone_rules=tuple(("x", each, "") for each in gone))
    table = PolicyTable(many(1 << 14), {f"g{number}": Grant("x/p") for number in range(1 << 14)})
    before = time.thread_time()
    assert policies.applied(table, change) == table
    assert time.thread_time() - before < 1


def grant(opening: Opening, name: str = "g", policy: str = "x/p") -> PolicyChange:
    return PolicyChange(grants={name: Grant(policy, (opening,))})


WRONG = [
    (PolicyChange({"A" * 16: SetChange()}), "set 'AAAAAAAAAAAAAAAA': a set's name is 16 digits of 0-9 and a-f"),
    (PolicyChange({ONE + "0": SetChange()}), "a set's name is 16 digits"),
    (PolicyChange({ONE: SetChange((bytes(5),))}), f"set '{ONE}': an address of 5 bytes, where one has 4 or 16"),
    (PolicyChange({ONE: SetChange((), (b"",))}), "an address of 0 bytes"),
    (grant(Opening(blocks=(Span(bytes(4), bytes(16)),))), f"no addresses go from {'00' * 4} to {'00' * 16}"),
    (grant(Opening(blocks=(Span(b"\1\0\0\0", bytes(4)),))), "no addresses go from 01000000 to 00000000"),
    (grant(Opening(blocks=(Span(bytes(3), bytes(3)),))), "no addresses go from 000000 to 000000"),
    (grant(Opening(ports=(PortSpan(Transport.TCP, 2, 1),))), "grant 'g': no ports go from 2 to 1"),
    (grant(Opening(ports=(PortSpan(Transport.TCP, 0, 65536),))), "no ports go from 0 to 65536"),
    (grant(Opening(ports=(PortSpan(Transport.TCP, -1, 1),))), "no ports go from -1 to 1"),
    (grant(Opening(), name=""), "a grant's name is 1 to 1024 printable characters"),
    (grant(Opening(), name="a\nb"), "a grant's name is 1 to 1024 printable characters"),
    (grant(Opening(), policy="x"), "'x' is no policy's namespace/name"),
    (PolicyChange(rules={("x", "../a", ""): Rules()}), "rules of 'x', '../a': these are no namespace and pod"),
    (PolicyChange(rules={("x", "a", "blue"): Rules()}), "pod x/a: 'blue' is no network's namespace/name"),
    (PolicyChange(rules={("x", "a", ""): Rules(uid="a\nb")}), "pod x/a: 'a\\nb' is no UID"),
    (PolicyChange(rules={("x", "a", ""): Rules(uid="a" * 129)}), f"pod x/a: '{'a' * 60}' is no UID"),
    (PolicyChange(kinds=("../a",)), "kind '../a': a kind's name is 1 to 63 letters"),
    (PolicyChange(kinds=("A",) * 17), "kinds of policies: 17 of them, where at most 16 are taken"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_what_no_cluster_has_is_refused_by_name(change: PolicyChange, words: str) -> None:
    body = msgspec.msgpack.encode(change)
    with pytest.raises(errors.SriovError) as caught:
        policy_frames.FORMAT.decoded(body)
    assert caught.value.message.startswith("table of policies: ")
    assert words in caught.value.message


def many(count: int) -> dict[str, Any]:
    return {f"{number:016x}": frozenset[bytes]() for number in range(count)}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (PolicyTable(rules={("x", "a", ""): Rules(("g",))}), "pod x/a: the grant 'g' is not in the table"),
        (PolicyTable(rules={("x", "a", ""): Rules(None, ("g",))}), "pod x/a: the grant 'g' is not in the table"),
        (PolicyTable(grants={"g": GRANTS[1]}), f"grant 'g': the set '{ONE}' is not in the table"),
        (PolicyTable(many(policy_frames.MOST_SETS + 1)), "16385 sets are too many"),
        (
            PolicyTable({ONE: frozenset(number.to_bytes(4, "big") for number in range((1 << 18) + 1))}),
            "262145 addresses are too many",
        ),
        (PolicyTable(grants={str(number): Grant("x/p") for number in range((1 << 14) + 1)}), "16385 grants are"),
        (
            PolicyTable(rules={("x", f"a{number}", ""): Rules() for number in range((1 << 13) + 1)}),
            "8193 pods and networks are too many; a node takes 8192",
        ),
    ],
)
def test_a_table_that_names_what_it_lacks_or_is_too_large_is_refused(table: PolicyTable, words: str) -> None:
    with pytest.raises(errors.SriovError) as caught:
        policy_frames.fitting(table)
    assert words in str(caught.value)


def test_the_largest_table_is_a_frame() -> None:
    addresses = [number.to_bytes(16, "big") for number in range(policy_frames.MOST_ADDRESSES)]
    sets = {f"{number:016x}": frozenset(addresses[number::64]) for number in range(64)}
    assert len(policy_frames.FORMAT.encoded(policy_changes.whole(PolicyTable(sets)))) < policy_frames.MOST_BYTES


class FormerRules(msgspec.Struct, frozen=True, array_like=True):
    """As releases had them before a table told UIDs."""

    ingress: tuple[str, ...] | None = None
    egress: tuple[str, ...] | None = None


class FormerChange(msgspec.Struct, frozen=True):
    """As releases had it before a table told which kinds are watched."""

    sets: dict[str, SetChange] = {}
    grants: dict[str, Grant] = {}
    rules: dict[policies.Place, FormerRules] = {}
    gone_sets: tuple[str, ...] = ()
    gone_grants: tuple[str, ...] = ()
    gone_rules: tuple[policies.Place, ...] = ()
    whole: bool = False


def test_a_table_of_an_older_release_tells_of_network_policies_and_no_uid() -> None:
    sent = FormerChange(
        rules={("x", "a", ""): FormerRules((), None), ("x", "a", "x/blue"): FormerRules(())}, whole=True
    )
    made = policies.applied(PolicyTable(kinds=KINDS[-1]), policy_frames.FORMAT.decoded(msgspec.msgpack.encode(sent)))
    assert made == PolicyTable(rules={("x", "a", ""): Rules(()), ("x", "a", "x/blue"): Rules(())})
    assert pod_policies.of(made, "x", "a", "", "any") == pod_policies.PodPolicy(())
    assert pod_policies.of(made, "x", "a", "blue") is None, "whether it watches them, nobody knows"
    later = policy_frames.FORMAT.decoded(msgspec.msgpack.encode(FormerChange(gone_rules=(("x", "a", "x/blue"),))))
    assert policies.applied(PolicyTable(kinds=KINDS[-1]), later).kinds == KINDS[-1], "a change says nothing of it"


def test_an_older_release_reads_a_table_of_this_one() -> None:
    rules = {("x", "a", ""): Rules((), None, "uid"), ("x", "a", "x/blue"): Rules(None, (), "uid")}
    body = msgspec.msgpack.encode(policy_changes.whole(PolicyTable(rules=rules, kinds=KINDS[-1])))
    read = msgspec.msgpack.decode(body, type=FormerChange)
    former = {("x", "a", ""): FormerRules(()), ("x", "a", "x/blue"): FormerRules(None, ())}
    assert read == FormerChange(rules=former, whole=True)


@given(st.binary(max_size=200))
def test_a_frame_is_a_change_or_refused(data: bytes) -> None:
    for body in (data, msgspec.msgpack.encode({"sets": {ONE: data}}), msgspec.msgpack.encode(TABLE) + data):
        with contextlib.suppress(errors.SriovError):
            policy_changes.check(policy_frames.FORMAT.decoded(body))
        with contextlib.suppress(errors.SriovError):
            policy_frames.requested(body)


@pytest.mark.parametrize(("namespace", "name"), [("x", "a/b"), ("..", "a"), ("x", ""), ("x", "a" * 254), ("X", "a")])
def test_a_request_for_no_pod_is_refused(namespace: str, name: str) -> None:
    """The name becomes a part of a path of the API server's."""
    frame = policy_frames.request(namespace, name)
    with pytest.raises(errors.SriovError, match="the CNI daemon asks for no pod"):
        policy_frames.requested(frame[4:])


def test_a_request_names_a_pod() -> None:
    frame = policy_frames.request("x", "a-0.b")
    assert policy_frames.request_length(frame[:4]) == len(frame) - 4
    assert policy_frames.requested(frame[4:]) == policy_frames.PodRequest("x", "a-0.b")
    with pytest.raises(errors.SriovError, match="1025 bytes, where 1 to 1024 are taken"):
        policy_frames.request_length((1025).to_bytes(4, "big"))
