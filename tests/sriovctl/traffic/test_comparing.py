"""Ways side by side."""

import pytest

from sriovctl.traffic import comparing


def test_a_line_has_medians_and_ratios_to_the_first_way() -> None:
    """The ratios are those of the rounds: in the last one both ways were disturbed."""
    taken = {"vf": {"tcp_mbit": [900.0, 1000.0, 100.0]}, "veth": {"tcp_mbit": [450.0, 480.0, 60.0]}}
    [line] = comparing.lines(taken)
    assert line == comparing.Line("tcp_mbit", (900, 450), (1, 0.5))
    assert comparing.cells(line) == ["900", "450 (0.50)"]


def test_of_nothing_there_is_no_ratio() -> None:
    [line] = comparing.lines({"vf": {"lost_percent": [0.0, 0.0]}, "veth": {"lost_percent": [1.0, 0.0]}})
    assert (line.values, line.ratios) == ((0, 0.5), (0, 0))


def test_what_one_way_has_not_is_not_compared() -> None:
    assert list(comparing.lines({"vf": {"packets": [1.0]}, "veth": {}})) == []


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12,346"), (99.94, "99.9"), (1.234, "1.23"), (0, "0.00")])
def test_three_digits_are_written(value: float, text: str) -> None:
    assert comparing.number(value) == text
