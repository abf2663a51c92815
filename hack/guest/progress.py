"""Progress on stderr: one line that is rewritten on a terminal, few plain lines anywhere else.

Never writes to stdout, which belongs to the command in the guest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

BAR = 24
STEP = 0.25  # of a download, between two plain lines
PULSE = 10.0  # seconds between two plain lines of work whose fraction is unknown


class Progress:
    """Shows what is going on, under the program's name; `quiet` shows nothing."""

    def __init__(
        self,
        stream: TextIO,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        name: str = "lab",
    ) -> None:
        self._stream, self._quiet, self._clock, self._name = stream, quiet, clock, name
        self._terminal = stream.isatty()
        self._what, self._begun, self._shown = "", 0.0, 0.0

    def show(self, what: str, fraction: float | None = None) -> None:
        """Show that `what` is in progress; `fraction` of it is done, or its seconds are counted if that is unknown."""
        if self._quiet:
            return
        now = self._clock()
        fresh = what != self._what
        if fresh:
            self._what, self._begun, self._shown = what, now, 0.0
        if self._terminal:
            self._stream.write(f"\r\033[K{self._name}: {_line(what, fraction, now - self._begun)}")
        elif fresh or self._due(now, fraction):
            self._stream.write(f"{self._name}: {_line(what, fraction, now - self._begun)}\n")
            self._shown = now - self._begun if fraction is None else fraction
        self._stream.flush()

    def say(self, text: str) -> None:
        """A line that stays, in place of the one that was being rewritten."""
        if not self._quiet:
            self._stream.write(f"{self._wipe()}{self._name}: {text}\n")
            self._stream.flush()
        self._what = ""

    def clear(self) -> None:
        """Leaves a terminal's line to the command's own output."""
        if not self._quiet and self._what:
            self._stream.write(self._wipe())
            self._stream.flush()
        self._what = ""

    def _wipe(self) -> str:
        return "\r\033[K" if self._terminal else ""

    def _due(self, now: float, fraction: float | None) -> bool:
        if fraction is None:
            return now - self._begun - self._shown >= PULSE
        return fraction - self._shown >= STEP


def _line(what: str, fraction: float | None, seconds: float) -> str:
    if fraction is None:
        return f"{what} … {seconds:.0f} s" if seconds >= 1 else f"{what} …"
    done = round(fraction * BAR)
    return f"{what} {'█' * done}{'░' * (BAR - done)} {fraction:4.0%}"
