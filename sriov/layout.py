"""Layout of a table on a terminal: what there is room for, or one record below the other. Pure.

What is copied from a table (an address, a name, a command) is whole at every width: it is never cut, and not folded. On
a narrow terminal columns are left out instead, those without any value first and then in the order that their table
states; prose may go on in the next line. If there is no room even so, each row becomes a record, a line for each value.
"""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

GAP = 2  # blanks between two columns
NOTHING = "-"  # an unknown value
_LEAST_PROSE = 24  # narrower prose is harder to read than a column that is missing


class Column(msgspec.Struct, frozen=True):
    """Column of a table. `wide`: only with `--output wide`.

    `leaves` is its place in the order in which columns are left out, from 1 on; 0 is never. `prose` may be folded
    between words.
    """

    heading: str
    wide: bool = False
    leaves: int = 0
    prose: bool = False


class Placed(msgspec.Struct, frozen=True):
    """Columns that there is room for, by index, with their widths; and the headings of those that are left out."""

    widths: dict[int, int]
    left_out: tuple[str, ...] = ()


Dress = Callable[[int, int, str], str]
"""How a text is shown: row (HEADINGS for the headings), column, and the text or a part of it."""
HEADINGS = -1


def undressed(_row: int, _column: int, text: str) -> str:
    return text


def place(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int, *, whole: bool) -> Placed | None:
    """Return what a terminal of `room` columns shows of a table; None if only records fit. `whole`: leave nothing out.

    A column whose values are all unknown leaves first.
    """
    texts = {number: [column.heading, *(row[number] for row in rows)] for number, column in enumerate(columns)}
    least = {number: _least(columns[number], each) for number, each in texts.items()}
    may_leave = [] if whole else [number for number in texts if columns[number].leaves or _is_empty(texts[number])]
    may_leave.sort(key=lambda number: (not _is_empty(texts[number]), columns[number].leaves))
    chosen = set(least)
    for number in may_leave:
        if not _fits(least, chosen, room):
            chosen.remove(number)
    if not _fits(least, chosen, room):
        return None
    for number in reversed(may_leave):  # a broad column may have made room for narrow ones
        if _fits(least, chosen | {number}, room):
            chosen.add(number)
    left_out = tuple(column.heading for number, column in enumerate(columns) if number not in chosen)
    return Placed(_widened({number: least[number] for number in sorted(chosen)}, texts, room), left_out)


def printable(text: str) -> str:
    """Return the text without what a terminal would obey instead of showing, as an escape sequence: each as its code.

    Names of VFs' users, errors of other programs and what other nodes print are not ours.
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def printable_lines(text: str) -> str:
    """Return the same of each line."""
    return "\n".join(map(printable, text.split("\n")))


def fold(text: str, width: int) -> list[str]:
    """Return the lines of a cell. Words stay whole."""
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) if len(text) > width else [text]
    return lines or [""]


def lines(
    headings: Sequence[str], rows: Sequence[Sequence[str]], widths: Mapping[int, int], dress: Dress = undressed
) -> Iterator[str]:
    """Yield the lines of a table, with blanks at their ends."""
    for number, row in enumerate([headings, *rows]):
        cells = {column: fold(row[column], width) for column, width in widths.items()}
        for line in range(max(map(len, cells.values()))):
            parts = ((column, cells[column][line] if line < len(cells[column]) else "") for column in widths)
            yield (" " * GAP).join(
                dress(number - 1, column, text) + " " * (widths[column] - len(text)) for column, text in parts
            )


def records(headings: Sequence[str], rows: Sequence[Sequence[str]], dress: Dress = undressed) -> Iterator[str]:
    """Yield a line for each value. The terminal itself goes on in its next line, so that a copy is in one piece."""
    width = max(map(len, headings))
    for number, row in enumerate(rows):
        yield from [""] if number else []
        for column, text in enumerate(row):
            if text not in ("", NOTHING):
                heading = dress(HEADINGS, column, headings[column])
                yield f"{heading}{' ' * (width - len(headings[column]) + GAP)}{dress(number, column, text)}"


def hint(placed: Placed, room: int, remedy: str) -> list[str]:
    """Return the lines that name the columns for which there was no room, if there are any."""
    return fold(f"no room for {', '.join(placed.left_out)}: {remedy}", room) if placed.left_out else []


def some(items: Sequence[str], most: int, separator: str = ", ") -> str:
    """Join the first of the items, and say how many more there are."""
    left = [f"{len(items) - most} more"] if len(items) > most else []
    return separator.join([*items[:most], *left])


def _least(column: Column, texts: Sequence[str]) -> int:
    if not column.prose:
        return max(map(len, texts))
    words = [len(word) for text in texts for word in text.split()]
    return min(max(map(len, texts)), max(_LEAST_PROSE, *words))


def _is_empty(texts: Sequence[str]) -> bool:
    return set(texts[1:]) == {NOTHING}


def _fits(widths: dict[int, int], chosen: set[int], room: int) -> bool:
    return _total(widths[number] for number in chosen) <= room


def _total(widths: Iterable[int]) -> int:
    return sum(width + GAP for width in widths) - GAP


def _widened(least: dict[int, int], texts: dict[int, list[str]], room: int) -> dict[int, int]:
    """Give the prose the room that is left, from left to right."""
    widths = dict(least)
    for number, width in least.items():
        widths[number] += min(room - _total(widths.values()), max(map(len, texts[number])) - width)
    return widths
