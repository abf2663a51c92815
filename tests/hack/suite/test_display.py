"""Display of a run: bars on a terminal, lines in a log, each by a process of its own that shows the same."""

import contextlib
import os
import pathlib
import pty
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[3]
SHOWING = """
import sys, time
from hack.suite import display, progress

display.PULSE = 0.0
lanes = [progress.Progress("without a guest"), progress.Progress("guest 1")]
with display.opened(lanes) as shown:
    lanes[0].take({"event": "collected", "at": 1.0, "count": 40})
    lanes[0].take({"event": "started", "at": 1.0, "test": "tests/a.py::test_odd[x-1]"})
    lanes[1].take({"event": "doing", "at": 1.0, "text": "lab: booting"})
    shown.say("FAILED tests/b.py::test_b[y]")
    shown.show(lanes)
    time.sleep(0.5)
"""
COMMAND = [sys.executable, "-c", SHOWING]


def test_a_terminal_has_a_bar_for_each_lane() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(COMMAND, cwd=ROOT, stdout=theirs, stdin=theirs, env=environment) as showing:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while data := os.read(ours, 4096):
                seen += data
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert showing.returncode == 0
    assert "FAILED tests/b.py::test_b[y]" in text
    assert re.search(r"without a guest +\S+ .*0 of 40: a\.py::test_odd\[x-1\]", text)
    assert re.search(r"guest 1 +.*0 of \?: lab: booting", text)


def test_a_log_has_a_line_for_each_lane_and_no_bar() -> None:
    done = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [re.sub(r"^ +\d+ s  ", "", line) for line in done.stdout.splitlines()] == [
        "FAILED tests/b.py::test_b[y]",
        "without a guest: 0 of 40: a.py::test_odd[x-1]",
        "guest 1: 0 of ?: lab: booting",
    ]
    assert "\x1b" not in done.stdout
