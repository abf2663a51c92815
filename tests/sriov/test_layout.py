"""What a terminal has room for: identifiers are whole, columns leave in their order, records come last."""

import click
import pytest
from hypothesis import given, strategies

from sriov import layout
from sriovctl import output, tables

COLUMNS = (
    layout.Column("DEVICE"),
    layout.Column("NUMA", leaves=1),
    layout.Column("LINK", leaves=2),
    layout.Column("OWNER"),
    layout.Column("WHY", leaves=3, prose=True),
)
LONG = "it was left behind by a pod and is not clean yet"
ROWS = [["0000:01:10.0", "-", "up", "default/web", "-"], ["0000:01:10.2", "-", "up", "-", LONG]]


def headings(room: int, *, whole: bool = False) -> list[str] | None:
    placed = layout.place(COLUMNS, ROWS, room, whole=whole)
    return None if placed is None else [COLUMNS[number].heading for number in placed.widths]


def test_columns_leave_in_their_order_and_the_empty_ones_first() -> None:
    everything = ["DEVICE", "NUMA", "LINK", "OWNER", "WHY"]
    assert headings(200) == headings(64) == everything
    assert headings(58) == ["DEVICE", "LINK", "OWNER", "WHY"]
    assert headings(54) == ["DEVICE", "OWNER", "WHY"]
    assert headings(30) == ["DEVICE", "OWNER"]
    assert headings(24) is None


def test_nothing_leaves_where_everything_was_asked_for() -> None:
    assert headings(64, whole=True) == ["DEVICE", "NUMA", "LINK", "OWNER", "WHY"]
    assert headings(58, whole=True) is None


def test_an_empty_column_leaves_before_its_turn() -> None:
    columns = (layout.Column("A"), layout.Column("B", leaves=1), layout.Column("C"))
    placed = layout.place(columns, [["aaaa", "bbbb", "-"]], 11, whole=False)
    assert placed == layout.Placed({0: 4, 1: 4}, ("C",))


@given(
    strategies.lists(strategies.lists(strategies.text("ab -", max_size=40), min_size=5, max_size=5), max_size=4),
    strategies.integers(1, 200),
    strategies.booleans(),
)
def test_what_is_placed_fits_and_is_whole(rows: list[list[str]], room: int, whole: bool) -> None:
    placed = layout.place(COLUMNS, rows, room, whole=whole)
    if placed is None:
        return
    assert sum(placed.widths.values()) + layout.GAP * (len(placed.widths) - 1) <= room
    assert {*placed.left_out} | {COLUMNS[number].heading for number in placed.widths} == {
        column.heading for column in COLUMNS
    }
    for number, width in placed.widths.items():
        for text in (row[number] for row in rows):
            lines = layout.fold(text, width)
            assert max(map(len, lines)) <= width
            assert COLUMNS[number].prose or lines == [text]
            assert " ".join(lines).split() == text.split()


@pytest.mark.parametrize("word", ["echo 0000:01:11.4 > /sys/bus/pci/drivers_probe", "02:00:00:02:00:00"])
def test_a_record_has_each_value_in_one_line(word: str) -> None:
    columns = (output.Column("NAME"), output.Column("REMEDY"), output.Column("EMPTY"))
    rows = [[output.cell("one"), output.cell(word), output.cell(None)]] * 2
    lines = [click.unstyle(line) for line in tables.records(columns, rows)]
    assert lines == ["NAME    one", f"REMEDY  {word}", "", "NAME    one", f"REMEDY  {word}"]
