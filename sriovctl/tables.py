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
    gap = " " * layout.GAP
    yield gap.join(click.style(columns[number].heading.ljust(width), bold=True) for number, width in widths.items())
    for row in rows:
        cells = {number: layout.fold(row[number].text, width) for number, width in widths.items()}
        for line in range(max(map(len, cells.values()))):
            parts = ((number, cells[number][line] if line < len(cells[number]) else "") for number in widths)
            yield gap.join(
                styled(text, row[number].tone) + " " * (widths[number] - len(text)) for number, text in parts
            )


def hint(placed: layout.Placed, room: int) -> Iterator[str]:
    if placed.left_out:
        text = f"no room for {', '.join(placed.left_out)}: widen the terminal, or use --output wide"
        yield from (styled(line, Tone.FAINT) for line in layout.fold(text, room))


def records(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """Yield a line for each value. The terminal itself goes on in its next line, so that a copy is in one piece."""
    width = max(len(column.heading) for column in columns)
    for number, row in enumerate(rows):
        yield from [""] if number else []
        for column, each in zip(columns, row, strict=True):
            if each.text != layout.NOTHING:
                yield f"{click.style(column.heading.ljust(width), bold=True)}  {styled(each.text, each.tone)}"


def styled(text: str, tone: Tone) -> str:
    return click.style(text, **CLICK[tone]) if tone is not Tone.PLAIN else text


def plain(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as kubectl does: columns with two blanks between them, whatever the width."""
    lines = [headings, *rows]
    widths = [max(len(line[number]) for line in lines) for number in range(len(headings))]
    padded = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)
