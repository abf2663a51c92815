"""Keyboard input at this end, key by key, for a guest's terminal, which echoes, edits lines and handles ^C.

Touches nothing if stdin is no terminal; then its end is an end of file at the other end.
"""

from __future__ import annotations

import os
import sys
import termios
import tty
from typing import Any, Self

_END_OF_FILE = b"\x04"  # ^D, as a terminal has it


class Keyboard:
    """Stdin of this process. `begin` makes its terminal raw; the end of the `with` restores it."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._before: list[Any] | None = None
        self._ended = False

    def begin(self) -> int:
        """Begin; returns the descriptor to wait for."""
        if os.isatty(self._descriptor):
            self._before = termios.tcgetattr(self._descriptor)
            tty.setraw(self._descriptor)
        return self._descriptor

    def read(self, size: int) -> bytes:
        """Return what has been typed; at the end of a file ^D, then nothing."""
        data = os.read(self._descriptor, size)
        if data or self._ended:
            return data
        self._ended = True
        return _END_OF_FILE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
