"""Plan of a measurement: how much it sends at most, and how long it takes."""

import pytest

from sriovctl.traffic import plans, tools


def plan(seconds: int = 5, rounds: int = 3, at_most: int = 10**10) -> plans.TrafficPlan:
    load = tools.Load(seconds, plans.PACED, at_most)
    return plans.TrafficPlan(
        "x", "x/rail-a", "intel.com/rail_a", ("node-1", "node-2"), "tools:1", load, rounds, "3f9a1c"
    )


def test_more_is_never_sent_than_is_said() -> None:
    """Three floods at the full rate, with their headers, and what is sent beside them."""
    assert plan(10, 1, 8 * 10**9).most() > 3 * 10 * 10**9 * 1.07
    assert plan(5, 6).most() == 2 * plan(5, 3).most()
    assert plan(at_most=10**9).most() < plan(at_most=2 * 10**9).most()


def test_the_kubelet_ends_pods_only_after_the_measurements() -> None:
    assert plan().seconds == 3 * 2 * len(tools.EVERY) * 7
    assert plan(600, 100).deadline > 2 * plan(600, 100).seconds


@pytest.mark.parametrize(("text", "bits"), [("500M", 5 * 10**8), ("10G", 10**10), ("400G", 4 * 10**11)])
def test_a_rate_is_bits_a_second(text: str, bits: int) -> None:
    assert plans.rate(text) == bits


@pytest.mark.parametrize("text", ["", "0G", "10", "10g", "1.5G", "-1G", "10Gbit", "99999G"])
def test_another_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate; write bits a second as 500M or 10G"):
        plans.rate(text)
