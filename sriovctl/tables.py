"""Tables: cells with a meaning, which is a colour on a terminal, and their lines. Pure."""

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec

from sriov import layout
from sriov.layout import Column


class Tone(enum.Enum):
    """Meaning of a cell's colour."""

    PLAIN = "plain"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    FAINT = "faint"


class Cell(msgspec.Struct, frozen=True):
    text: str
    tone: Tone = Tone.PLAIN


class Table(msgspec.Struct, frozen=True):
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


CLICK: dict[Tone, dict[str, Any]] = {
    Tone.PLAIN: {},
    Tone.GOOD: {"fg": "green"},
    Tone.WARNING: {"fg": "yellow"},
    Tone.BAD: {"fg": "red", "bold": True},
    Tone.FAINT: {"dim": True},
}


def cell(value: object, tone: Tone = Tone.PLAIN) -> Cell:
    """Make a cell; an unknown value is a dash."""
    return Cell(layout.NOTHING, Tone.FAINT) if value in (None, "") else Cell(layout.printable(str(value)), tone)


def lines(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], widths: Mapping[int, int]) -> Iterator[str]:
    """Yield the lines of a table."""
    return layout.lines(_headings(columns), _texts(rows), widths, _dressed(rows))


def hint(placed: layout.Placed, room: int) -> Iterator[str]:
    return (styled(line, Tone.FAINT) for line in layout.hint(placed, room, "widen the terminal, or use --output wide"))


def records(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """Yield a line for each value."""
    return layout.records(_headings(columns), _texts(rows), _dressed(rows))


def _headings(columns: Sequence[Column]) -> list[str]:
    return [column.heading for column in columns]


def _texts(rows: Sequence[Sequence[Cell]]) -> list[list[str]]:
    return [[each.text for each in row] for row in rows]


def _dressed(rows: Sequence[Sequence[Cell]]) -> layout.Dress:
    def dress(row: int, column: int, text: str) -> str:
        return click.style(text, bold=True) if row == layout.HEADINGS else styled(text, rows[row][column].tone)

    return dress


def styled(text: str, tone: Tone) -> str:
    return click.style(text, **CLICK[tone]) if tone is not Tone.PLAIN else text


def plain(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as kubectl does: columns with two blanks between them, whatever the width."""
    lines = [headings, *rows]
    widths = [max(len(line[number]) for line in lines) for number in range(len(headings))]
    padded = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)
