"""Output: a table for people, a JSON or YAML document for programs. The only module here with rich and yaml.

Colour and the terminal's width count only if stdout is a terminal: a pipe gets every cell whole and no escape sequence.
NO_COLOR (no-color.org) is honoured. Documents for programs keep the command's own order.
"""

import enum
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import click
import msgspec


class OutputFormat(enum.Enum):
    """Format of the output; the value is that of `--output`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"

    @property
    def for_people(self) -> bool:
        return self in (OutputFormat.TABLE, OutputFormat.WIDE)


class Tone(enum.Enum):
    """Meaning of a cell's colour; the value is rich's style."""

    PLAIN = ""
    GOOD = "green"
    WARNING = "yellow"
    BAD = "bold red"
    FAINT = "dim"


class Cell(msgspec.Struct, frozen=True):
    text: str
    tone: Tone = Tone.PLAIN


class Column(msgspec.Struct, frozen=True):
    """Column of a table. `wide`: only with `--output wide`."""

    heading: str
    wide: bool = False


class Table(msgspec.Struct, frozen=True):
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def cell(value: object, tone: Tone = Tone.PLAIN) -> Cell:
    """Make a cell; an unknown value is a dash."""
    return Cell("-", Tone.FAINT) if value in (None, "") else Cell(str(value), tone)


def some(items: Sequence[str], most: int, separator: str = ", ") -> str:
    """Join the first of the items, and say how many more there are."""
    left = [f"{len(items) - most} more"] if len(items) > most else []
    return separator.join([*items[:most], *left])


def document(kind: str, items: Sequence[Mapping[str, Any]], **further: Any) -> dict[str, Any]:
    """Return the document for programs: kind, version, items. A key is never renamed within a version."""
    return {"apiVersion": "sriovctl/v1", "kind": kind, **further, "items": list(items)}


def show(
    form: OutputFormat,
    table: Table,
    content: Mapping[str, Any],
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Print the table or the document, by `form`."""
    out = stream or sys.stdout
    if form is OutputFormat.JSON:
        out.write(json.dumps(content, indent=2) + "\n")
    elif form is OutputFormat.YAML:
        out.write(_yaml(content))
    else:
        _print(table, form, out, environ)
    out.flush()  # before anything is printed on stderr: both may go to one file


def write(text: str) -> None:
    """Print a finished text."""
    sys.stdout.write(text)
    sys.stdout.flush()


def unseen(form: OutputFormat, what: Sequence[str]) -> None:
    """Print what could not be seen, for people, on stderr, so that the table stays clean; documents include it."""
    for each in what if form.for_people else ():
        click.secho(f"not seen: {each}", err=True, color=False if os.environ.get("NO_COLOR") else None, fg="yellow")


def complain(text: str) -> None:
    """Print one line on stderr: why something was not done."""
    click.secho(text, err=True, color=False if os.environ.get("NO_COLOR") else None, fg="red")


def say(text: str, tone: Tone = Tone.PLAIN) -> None:
    """Print one line for people. click removes the colour if stdout is no terminal."""
    click.secho(text, color=False if os.environ.get("NO_COLOR") else None, **_CLICK[tone])


_CLICK: dict[Tone, dict[str, Any]] = {
    Tone.PLAIN: {},
    Tone.GOOD: {"fg": "green"},
    Tone.WARNING: {"fg": "yellow"},
    Tone.BAD: {"fg": "red", "bold": True},
    Tone.FAINT: {"dim": True},
}


def _yaml(content: Mapping[str, Any]) -> str:
    import yaml  # noqa: PLC0415 (only where it is asked for)

    text: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=1000)
    return text


def from_yaml(text: str) -> Any:
    """Parse YAML. Raises ValueError."""
    import yaml  # noqa: PLC0415

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _print(table: Table, form: OutputFormat, out: TextIO, environ: Mapping[str, str]) -> None:
    shown = [number for number, column in enumerate(table.columns) if form is OutputFormat.WIDE or not column.wide]
    headings = [table.columns[number].heading for number in shown]
    rows = [[row[number] for number in shown] for row in table.rows]
    if not out.isatty():
        out.write(_plain(headings, rows))
        return
    import rich.console  # noqa: PLC0415 (a pipe does not need it)

    console = rich.console.Console(file=out, no_color=bool(environ.get("NO_COLOR")), _environ=environ)
    widths = _widths(headings, [[each.text for each in row] for row in rows])
    if sum(widths) + 2 * (len(widths) - 1) <= console.width:
        console.print(_lines(headings, rows, widths), soft_wrap=True)
    else:
        console.print(_folded(headings, rows))


def _lines(headings: Sequence[str], rows: Sequence[Sequence[Cell]], widths: Sequence[int]) -> Any:
    """Format a table that fits. rich's own table looks the same, and takes twice as long as reading the node."""
    import rich.text  # noqa: PLC0415

    styled = [[(each, "bold") for each in headings], *([(each.text, each.tone.value) for each in row] for row in rows)]
    made = rich.text.Text()
    for line in styled:
        made.append("\n" if made else "")
        for number, (text, style) in enumerate(line):
            made.append(" " * (widths[number - 1] - len(line[number - 1][0]) + 2) if number else "")
            made.append(text, style)
    return made


def _folded(headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Any:
    """Format a table for a terminal that is too narrow: cells are folded between words, or cut."""
    import rich.table  # noqa: PLC0415
    import rich.text  # noqa: PLC0415

    made = rich.table.Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        made.add_row(*(rich.text.Text(each.text, style=each.tone.value) for each in row))
    return made


def _plain(headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Format a table as kubectl does: columns with two blanks between them, whatever the width."""
    if not headings:
        return ""
    lines = [list(headings), *([each.text for each in row] for row in rows)]
    widths = _widths(headings, lines)
    padded = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def _widths(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(line[number]) for line in (headings, *lines)) for number in range(len(headings))]
