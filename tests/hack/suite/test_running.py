"""Runs of lanes on small folders of tests: real sessions of pytest, followed as `hack/test` follows its own."""

import dataclasses
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from hack.suite import lanes, progress, running

PASSING = "def test_passes():\n    pass\n"
MIXED = f"""
import pytest

{PASSING}
def test_fails():
    assert 1 == 2

@pytest.mark.skip(reason="not today")
def test_skips():
    pass
"""
HANGING = f"""
import threading, time, pytest

@pytest.mark.timeout(1)
def test_hangs():
    threading.Thread(target=time.sleep, args=(60,), name="the other thread", daemon=True).start()
    time.sleep(60)

{PASSING}"""


class Shown:
    """Display that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.lines: set[str] = set()

    def show(self, lanes: Sequence[progress.Progress]) -> None:
        self.lines |= {lane.line() for lane in lanes}

    def say(self, text: str) -> None:
        self.said.append(text)


def lane(folder: pathlib.Path, name: str, text: str, *more: str) -> lanes.Lane:
    path = folder / f"test_{name}.py"
    path.write_text(text)
    return lanes.Lane(name, (str(path), "-p", "no:cacheprovider", *more))


def run(folder: pathlib.Path, *planned: lanes.Lane) -> tuple[Shown, list[running.Running]]:
    shown = Shown()
    with running.started(planned, sys.executable, folder) as started:
        running.follow(started, shown)
    return shown, started


@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_each_lane_has_its_end_and_failures_are_told_at_once(
    tmp_path: pathlib.Path, processes: tuple[str, ...]
) -> None:
    planned = [lane(tmp_path, "mixed", MIXED, *processes), lane(tmp_path, "passing", PASSING, *processes)]
    shown, [mixed, passing] = run(tmp_path, *planned)
    assert (mixed.status, passing.status) == (1, 0)
    assert [each.endswith("test_mixed.py::test_fails") for each in shown.said] == [True]
    assert (mixed.progress.done, mixed.progress.total, passing.progress.done) == (3, 3, 1)
    assert mixed.progress.tally.lines()[-1:] == ["1 of mock skipped: not today"]
    assert "assert 1 == 2" in mixed.log.read_text()


def test_lanes_run_beside_each_other(tmp_path: pathlib.Path) -> None:
    """Each waits for a file that the other makes."""
    meet = (
        "import pathlib, time\n\ndef test_meets():\n    pathlib.Path({!r}).touch()\n"
        "    while not pathlib.Path({!r}).exists():\n        time.sleep(0.05)\n"
    )
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    _, started = run(tmp_path, lane(tmp_path, "a", meet.format(one, two)), lane(tmp_path, "b", meet.format(two, one)))
    assert [each.status for each in started] == [0, 0]


def test_a_lane_begins_after_the_lane_that_it_names(tmp_path: pathlib.Path) -> None:
    first = lane(tmp_path, "first", "import time\n\ndef test_takes_its_time():\n    time.sleep(2)\n")
    second = dataclasses.replace(lane(tmp_path, "second", PASSING), after="first")
    shown, [one, two] = run(tmp_path, first, second)
    assert (one.status, two.status) == (0, 0)
    assert one.ended is not None and two.began >= one.ended - 1
    assert "0 of ?: waiting for 'first'" in shown.lines


def test_a_test_that_hangs_fails_with_all_stacks_and_the_next_one_runs(tmp_path: pathlib.Path) -> None:
    shown, [hanging] = run(tmp_path, lane(tmp_path, "hanging", HANGING))
    assert (hanging.status, hanging.progress.done) == (1, 2)
    assert "Timeout (>1.0s)" in hanging.log.read_text() and "Stack of the other thread" in hanging.log.read_text()
    assert len(shown.said) == 1


def test_a_session_that_hangs_prints_its_stacks_and_ends(
    tmp_path: pathlib.Path,
) -> None:
    """It hangs where no test has begun, so that no test's limit counts."""
    hanging = lane(tmp_path, "hanging", "import time\n\ntime.sleep(600)\n")
    shown = Shown()
    with running.started([hanging], sys.executable, tmp_path) as [started]:
        started.patience = 5.0
        running.follow([started], shown)
    assert started.status == -signal.SIGABRT
    assert "hanging: silent for 5 s, so it prints its stacks and ends" in shown.said
    assert 'test_hanging.py", line 3 in <module>' in started.log.read_text()


def test_what_a_session_has_started_ends_with_it(tmp_path: pathlib.Path) -> None:
    """As when a person stops the run with Ctrl-C."""
    text = f"""
import pathlib, subprocess, time

def test_starts():
    started = subprocess.Popen(["sleep", "600"])
    pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(started.pid))
    time.sleep(600)
"""
    with running.started([lane(tmp_path, "starting", text)], sys.executable, tmp_path):
        deadline = time.monotonic() + 30
        while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        pid = int((tmp_path / "pid").read_text())
    # It has been killed, and dies when it is on a processor again.
    while (found := state(pid)) not in ("", "Z") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found in ("", "Z")


def state(pid: int) -> str:
    """The process's, as ps(1) has it; empty if there is none."""
    asked = ["ps", "-o", "stat=", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()[:1]


@pytest.mark.root
@pytest.mark.parametrize(("options", "there"), [("size=8g", True), ("size=1g", False), ("size=8g,noexec", False)])
def test_folders_are_in_memory_where_there_is_room_and_programs_run(
    tmp_path: pathlib.Path, options: str, there: bool
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)], check=True)
    try:
        assert running.scratch(tmp_path) == (str(tmp_path) if there else "/tmp")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_folders_are_on_the_disk_where_there_is_no_memory(tmp_path: pathlib.Path) -> None:
    assert running.scratch(tmp_path / "none") == "/tmp"
