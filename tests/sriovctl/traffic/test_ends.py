"""Ends of a measurement: what links have counted, and what processors have worked for it."""

import pathlib

import pytest

from sriovctl.traffic import ends, tools


def printed(idle: tuple[int, int], up: float) -> str:
    each = [f"cpu{number} 5 0 9 {ticks} 100 0 3 0 0 0" for number, ticks in enumerate(idle)]
    return "\n".join(["77", f"cpu  10 0 18 {sum(idle)} 200 0 6 0 0 0", *each, "intr 1 2 3", f"{up} 0.50"]) + "\n"


def test_work_is_the_time_that_was_not_idle() -> None:
    before, after = printed((1000, 2000), 50.0), printed((1100, 2290), 53.0)
    for processor, seconds in ((0, 2.0), (1, 0.1), (None, 2.1)):
        took = ends.parsed(after, processor).worked - ends.parsed(before, processor).worked
        assert took == pytest.approx(seconds)
    assert ends.parsed(after).counted == 77


def test_this_machines_own_can_be_read() -> None:
    spent = "".join(pathlib.Path("/proc", each).read_text() for each in ("stat", "uptime"))
    assert ends.parsed(f"1\n{spent}").worked > ends.parsed(f"1\n{spent}", 0).worked > 0


@pytest.mark.parametrize(
    "broken", ["", "7\n", "7\ncpu7 1 2 3 4 5 6\n", printed((1, 1), 1.0), printed((1, 1), 1.0).replace("77\n", "")]
)
def test_what_is_something_else_is_named(broken: str) -> None:
    with pytest.raises(ValueError, match="no counter, /proc/stat with cpu7, and /proc/uptime"):
        ends.parsed(broken, 7)


def test_counters_of_several_links_stand_before_the_work() -> None:
    first, second = ends.every(f"33\n{printed((1000, 2000), 50.0)}", 2)
    assert (first.counted, second.counted, first.worked) == (33, 77, second.worked)
    with pytest.raises(ValueError, match="no counter, /proc/stat with cpu"):
        ends.every(printed((1000, 2000), 50.0), 2)


def both(counted: tuple[int, int], worked: tuple[float, float] = (0, 0)) -> tuple[ends.MeasuredEnd, ends.MeasuredEnd]:
    return ends.MeasuredEnd(70 + counted[0], 5 + worked[0]), ends.MeasuredEnd(80 + counted[1], 6 + worked[1])


def test_both_ends_work_for_a_packet_or_a_megabyte() -> None:
    start, end = both((0, 0)), both((10**8, 10**8), (0.5, 1.0))
    paced = ends.checked_shares(start, end, tools.Reading({"lost_percent": 0}, 36_000, 2000))
    assert paced == pytest.approx({"sender_us_packet": 250, "receiver_us_packet": 500})
    tcp = ends.checked_shares(start, end, tools.Reading({"tcp_mbit": 1}, 10_000_000))
    assert tcp == pytest.approx({"sender_ms_mb": 50, "receiver_ms_mb": 100})
    assert ends.checked_shares(start, end, tools.Reading({"connections": 8000}, 500)) == {}


@pytest.mark.parametrize("counted", [(999, 5000), (5000, 999), (0, 0)])
def test_data_that_came_another_way_is_an_error(counted: tuple[int, int]) -> None:
    reading = tools.Reading({"tcp_mbit": 1}, 1000)
    with pytest.raises(ends.ShortcutError, match=r"1000 bytes came over, \d+ by the links: there is a shorter way"):
        ends.checked_shares(both((0, 0)), both(counted), reading)
    assert ends.checked_shares(both((0, 0)), both((1000, 1000)), reading)
