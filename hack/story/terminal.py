"""Terminal output of the demo: a headline for each step, a table if that reads better, a tick or a cross."""

import sys
import time
from collections.abc import Sequence
from typing import TextIO

import rich.box
import rich.console
import rich.table

_TABLE = 110  # columns


class Terminal:
    """Prints as things happen; plain lines if stdout is no terminal. A `recording` gets the same, in colours."""

    def __init__(self, recording: TextIO | None = None) -> None:
        # A cut table is useless; a terminal that is too narrow for it wraps.
        width = max(rich.console.Console(file=sys.stdout).width, _TABLE)
        self._consoles = [rich.console.Console(file=sys.stdout, highlight=False, width=width)]
        if recording is not None:
            self._consoles.append(
                rich.console.Console(
                    file=recording, highlight=False, width=_TABLE, force_terminal=True, color_system="standard"
                )
            )
        self._started = time.monotonic()
        self._number = 0

    def title(self, text: str) -> None:
        self._print(f"[bold]{text}[/bold]")

    def step(self, text: str) -> None:
        self._number += 1
        elapsed = time.monotonic() - self._started
        self._print(f"\n[bold cyan]{self._number}. {text}[/bold cyan] [dim]({elapsed:.0f} s)[/dim]")

    def tell(self, text: str) -> None:
        self._print(f"   {text}")

    def fact(self, true: bool, text: str) -> None:
        mark = "[green]✔[/green]" if true else "[red]✘[/red]"
        self._print(f"   {mark} {text}")

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for heading in headings:
            table.add_column(heading, no_wrap=True)
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        self._print(table)

    def _print(self, what: rich.console.RenderableType, *, markup: bool = True) -> None:
        for console in self._consoles:
            console.print(what, markup=markup)

    def failure(self, text: str, logs: str) -> None:
        self._print(f"\n[bold red]The story stops here:[/bold red] {text}", markup=True)
        self._print(logs, markup=False)
