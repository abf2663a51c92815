from __future__ import annotations

import io

from hack.guest import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_terminals_line_is_rewritten_and_wiped() -> None:
    stream, clock = Terminal(), Clock()
    shown = progress.Progress(stream, clock=clock)
    shown.show("booting")
    clock.now += 14
    shown.show("booting")
    shown.clear()
    assert stream.getvalue().split("\r\033[K") == ["", "lab: booting …", "lab: booting … 14 s", ""]


def test_without_a_terminal_there_are_few_whole_lines() -> None:
    stream, clock = io.StringIO(), Clock()
    shown = progress.Progress(stream, clock=clock)
    for _ in range(25):
        shown.show("booting")
        clock.now += 1
    assert stream.getvalue().splitlines() == ["lab: booting …", "lab: booting … 10 s", "lab: booting … 20 s"]


def test_a_download_without_a_terminal_shows_quarters() -> None:
    stream = io.StringIO()
    shown = progress.Progress(stream)
    for percent in range(101):
        shown.show("downloading", percent / 100)
    assert [line[-4:] for line in stream.getvalue().splitlines()] == ["  0%", " 25%", " 50%", " 75%", "100%"]


def test_quiet_is_quiet() -> None:
    stream = io.StringIO()
    shown = progress.Progress(stream, quiet=True)
    shown.show("booting")
    shown.say("cached")
    shown.clear()
    assert stream.getvalue() == ""
