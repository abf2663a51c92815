"""Terminal output of the demo: a headline for each step, a table if that reads better, a tick or a cross."""

import sys
import time
from collections.abc import Sequence

import rich.box
import rich.console
import rich.table

_TABLE = 110  # columns


class Terminal:
    """Prints as things happen; plain lines if stdout is no terminal."""

    def __init__(self) -> None:
        # A cut table is useless; a terminal that is too narrow for it wraps.
        width = max(rich.console.Console(file=sys.stdout).width, _TABLE)
        self._console = rich.console.Console(file=sys.stdout, highlight=False, width=width)
        self._started = time.monotonic()
        self._number = 0

    def title(self, text: str) -> None:
        self._console.print(f"[bold]{text}[/bold]")

    def step(self, text: str) -> None:
        self._number += 1
        elapsed = time.monotonic() - self._started
        self._console.print(f"\n[bold cyan]{self._number}. {text}[/bold cyan] [dim]({elapsed:.0f} s)[/dim]")

    def tell(self, text: str) -> None:
        self._console.print(f"   {text}")

    def fact(self, true: bool, text: str) -> None:
        mark = "[green]✔[/green]" if true else "[red]✘[/red]"
        self._console.print(f"   {mark} {text}")

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for heading in headings:
            table.add_column(heading, no_wrap=True)
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        self._console.print(table)

    def failure(self, text: str, logs: str) -> None:
        self._console.print(f"\n[bold red]The story stops here:[/bold red] {text}", markup=True)
        self._console.print(logs, markup=False)
