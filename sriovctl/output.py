"""Output: a table for people, a JSON or YAML document for programs. The only module here with yaml.

Colour and the terminal's width count only if stdout is a terminal: a pipe gets every cell whole and no escape sequence.
NO_COLOR (no-color.org) and TERM=dumb are honoured. Documents for programs keep the command's own order.
"""

import enum
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import click

from sriov import layout
from sriov.layout import Column
from sriovctl import tables
from sriovctl.tables import Cell, Table, Tone, cell

__all__ = ["Cell", "Column", "OutputFormat", "Table", "Tone", "cell"]

_WIDTH = 80  # of a terminal that does not tell its own


class OutputFormat(enum.Enum):
    """Format of the output; the value is that of `--output`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"

    @property
    def for_people(self) -> bool:
        return self in (OutputFormat.TABLE, OutputFormat.WIDE)


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
        click.secho(f"not seen: {layout.printable(each)}", err=True, color=_forced(), fg="yellow")


def complain(text: str) -> None:
    """Print one line on stderr: why something was not done."""
    click.secho(layout.printable_lines(text), err=True, color=_forced(), fg="red")


def say(text: str, tone: Tone = Tone.PLAIN) -> None:
    """Print one line for people."""
    click.secho(layout.printable_lines(text), color=_forced(), **tables.CLICK[tone])


def _forced(environ: Mapping[str, str] = os.environ) -> bool | None:
    """Return False where nobody wants colours, None to leave it to click, which removes them if it is no terminal."""
    return False if environ.get("NO_COLOR") or environ.get("TERM") == "dumb" else None


def _yaml(content: Mapping[str, Any]) -> str:
    import yaml  # noqa: PLC0415 (only where it is asked for)

    text: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=1000)
    return text


def from_yaml(text: str) -> Any:
    """Parse YAML of one document. Raises ValueError."""
    found = every_yaml(text)
    if len(found) > 1:
        raise ValueError(f"it holds {len(found)} documents")
    return found[0] if found else None


def every_yaml(text: str) -> list[Any]:
    """Parse every document of a YAML file. Raises ValueError."""
    import yaml  # noqa: PLC0415

    try:
        return list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _print(table: Table, form: OutputFormat, out: TextIO, environ: Mapping[str, str]) -> None:
    shown = [number for number, column in enumerate(table.columns) if form is OutputFormat.WIDE or not column.wide]
    columns = [table.columns[number] for number in shown]
    rows = [[row[number] for number in shown] for row in table.rows]
    texts = [[each.text for each in row] for row in rows]
    if not columns:
        return
    if not out.isatty():
        out.write(tables.plain([column.heading for column in columns], texts))
        return
    room = _width(out, environ)
    placed = layout.place(columns, texts, room, whole=form is OutputFormat.WIDE)
    lines = (
        tables.records(columns, rows)
        if placed is None
        else [*tables.lines(columns, rows, placed.widths), *tables.hint(placed, room)]
    )
    text = "".join(f"{line.rstrip()}\n" for line in lines)
    out.write(text if _forced(environ) is None else click.unstyle(text))


def _width(out: TextIO, environ: Mapping[str, str]) -> int:
    """Return the terminal's width; COLUMNS overrides it (POSIX, Environment Variables)."""
    if environ.get("COLUMNS", "").isdecimal():
        return int(environ["COLUMNS"])
    try:
        return os.get_terminal_size(out.fileno()).columns or _WIDTH
    except OSError:
        return _WIDTH
