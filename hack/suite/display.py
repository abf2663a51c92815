"""Display of a run: a bar for each lane on a terminal, now and then a line for each anywhere else."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import rich.console
import rich.progress
import rich.table

from hack.suite import progress

PULSE = 30.0  # seconds between two lines of a lane in a log


class Display(Protocol):
    def show(self, lanes: Sequence[progress.Progress]) -> None:
        """Show what the lanes are doing."""

    def say(self, text: str) -> None:
        """Show a line that stays."""


class Log:
    """Lines for a file: whoever reads it later sees how the run went."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown = self._began

    def show(self, lanes: Sequence[progress.Progress]) -> None:
        if time.monotonic() - self._shown >= PULSE:
            self._shown = time.monotonic()
            for lane in lanes:
                self.say(f"{lane.name}: {lane.line()}")

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s  {text}", flush=True)


class Bars:
    """Bars on a terminal, which end with the run."""

    def __init__(self, shown: rich.progress.Progress, lanes: Sequence[progress.Progress]) -> None:
        self._shown = shown
        self._bars = {lane.name: shown.add_task(lane.name, total=None, doing="") for lane in lanes}

    def show(self, lanes: Sequence[progress.Progress]) -> None:
        for lane in lanes:
            self._shown.update(
                self._bars[lane.name],
                completed=lane.done,
                total=lane.total or None,
                doing=lane.line().replace("[", r"\["),
            )

    def say(self, text: str) -> None:
        self._shown.console.print(text, markup=False, highlight=False)


@contextlib.contextmanager
def opened(lanes: Sequence[progress.Progress]) -> Iterator[Display]:
    """Open the display that suits stdout."""
    if not sys.stdout.isatty():
        yield Log()
        return
    columns = (
        rich.progress.TextColumn("{task.description:<16}"),
        rich.progress.BarColumn(bar_width=20),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn(
            "{task.fields[doing]}", table_column=rich.table.Column(no_wrap=True, overflow="ellipsis")
        ),
    )
    with rich.progress.Progress(*columns, console=rich.console.Console(file=sys.stdout)) as shown:
        yield Bars(shown, lanes)
