"""Causes of unhealthy devices, which must last before they count."""

import hypothesis
import pytest
from hypothesis import strategies

from sriov import devices
from sriov.hardware import node_devices
from sriov.pools import health

PF = devices.PciAddress("0000:01:00.0")


@pytest.mark.parametrize(
    ("up", "carrier", "reason"),
    [
        (True, True, None),
        (True, None, None),
        (True, False, "has its PF p0 without carrier"),
        (False, None, "has its PF p0 down"),
    ],
)
def test_d29_the_link_of_a_pf(up: bool, carrier: bool | None, reason: str | None) -> None:
    found = node_devices.Catalog({}, uplinks={PF: node_devices.Uplink("p0", up, carrier)})
    assert health.down(found).get(PF) == reason


def run(seen: list[bool], delay: float) -> list[bool]:
    """What is told after each second of what is seen."""
    state, told = health.Settling(), []
    for now, bad in enumerate(seen):
        state = health.settle(state, {"x": "bad"} if bad else {}, float(now), delay)
        told.append("x" in state.told)
    return told


def test_d28_only_what_lasts_is_told_and_in_both_directions() -> None:
    seen = [False, True, False, True, True, True, False, True, False, False, False]
    assert run(seen, 2) == [False] * 5 + [True] * 5 + [False]


@hypothesis.given(strategies.lists(strategies.booleans(), min_size=1), strategies.integers(0, 5))
def test_d28_what_is_told_was_seen_all_the_while(seen: list[bool], delay: int) -> None:
    """Whenever the word changes, the node had said so without a break for the delay; and it does change then."""
    told = run(seen, delay)
    before = False
    for now, word in enumerate(told):
        lasting = now >= delay and all(each is not before for each in seen[now - delay : now + 1])
        assert (word is not before) == lasting
        before = word


def test_the_next_look_is_when_the_oldest_doubt_is_over() -> None:
    state = health.settle(health.Settling(), {"x": "bad"}, 5.0, 2.0)
    state = health.settle(state, {"x": "bad", "y": "bad"}, 6.0, 2.0)
    assert state.next_look(2.0) == 7.0
    assert health.Settling().next_look(2.0) is None
