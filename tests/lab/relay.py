"""One guest for a whole test session: runs the selected tests in it and brings every report home as it is made.

A guest that stands still as a whole is a fault of its emulation: once a session, another one runs the tests that are
left, that one included in which it happened.

The guest's pytest appends each report to a file in the one folder it shares with us; a line without a report says
that a test is over. Refuses to judge: outcome, traceback and captured output are the guest's.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

# Of a test that is run by this machine's pytest after all; of a session, what else `hack/lab run` is told.
HERE = pytest.StashKey[bool]()
OPTIONS = pytest.StashKey[Sequence[str]]()

Report = dict[str, Any]  # as pytest_report_to_serializable makes it

REPORTS = "reports.jsonl"
SELECTION = "selection"
LOG = "guest.log"
CONSOLE = "console"
# Importing what pip happens to have installed for pytest costs an emulated CPU 8 of 14 seconds.
NO_PLUGINS = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1"
LONG = os.environ.get("SRIOV_LONG") == "1"
LIMIT = 900.0 * (not LONG)  # seconds for a test in the guest; 0: none
PATIENCE = 1500.0 + LONG * 86400  # seconds without a report: more than a test takes, or the downloads before it
POLL = 0.1  # seconds
LAST_LINES = 25


class NoGuestError(Exception):
    """The guest has no report for a test; `unavailable` if this machine can have no guest at all."""

    def __init__(self, reason: str, *, unavailable: bool) -> None:
        super().__init__(reason)
        self.unavailable = unavailable


class Relay:
    """A running guest, its tests and their reports. `folder` holds everything it writes."""

    def __init__(self, lab: Path, folder: Path, tests: Sequence[str], options: Sequence[str] = ()) -> None:
        self._folder, self._lab, self._tests, self._options = folder, lab, tests, options
        self._tries = 2
        self._heard = time.monotonic()
        self._told = ""
        self._reports: dict[str, list[Report]] = defaultdict(list)
        self._finished: set[str] = set()
        (folder / REPORTS).touch()
        self._guest = self._booted()
        self._lines = self._read_lines()

    def _booted(self) -> subprocess.Popen[bytes]:
        """Boot a guest for the tests that are left."""
        folder, self._tries = self._folder, self._tries - 1
        left = [test for test in self._tests if test not in self._finished]
        (folder / SELECTION).write_text("".join(f"{test}\n" for test in left))
        # -u: what pytest says before a hang is not in its buffer then.
        inside = [sys.executable, "-u", "-m", "pytest", "-p", "no:cacheprovider", "-p", "timeout"]
        inside += ["--timeout", f"{LIMIT:.0f}", f"@{folder / SELECTION}"]
        options: list[str | Path] = [
            "--out",
            folder,
            "--env",
            NO_PLUGINS,
            "--console",
            folder / CONSOLE,
            *self._options,
        ]
        with (folder / LOG).open("ab") as log:
            return subprocess.Popen(
                [self._lab, "run", *options, "--", *inside],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def reports(
        self, test: str, tell: Callable[[str], object] = str, remark: Callable[[str], object] = str
    ) -> list[Report]:
        """The reports of one test (setup, call, teardown), once it is over in the guest.

        `tell` is called with what the lab says until the first test has begun, `remark` with what is to be remembered.
        """
        while test not in self._finished:
            if not self._reports and (said := self._last_line()) != self._told:
                self._told = said
                tell(said)
            ended = self._guest.poll() is not None
            self._take_new()
            if test not in self._finished and self._stood_still():
                remark(f"the guest stood still in {test}; another one runs what is left\n{self._last_words()}")
                self._reports.pop(test, None)
                self._guest, self._heard = self._booted(), time.monotonic()
            elif test not in self._finished and (ended or time.monotonic() - self._heard > PATIENCE):
                raise self._no_guest(test)
            if test not in self._finished:
                time.sleep(POLL)
        return self._reports[test]

    def stop(self) -> None:
        """Ends the guest if it has not ended by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guest.wait(5)  # its pytest may be printing its summary
        self._guest.terminate()
        self._guest.wait()

    def _stood_still(self) -> bool:
        return self._guest.returncode == os.EX_TEMPFAIL and self._tries > 0

    def _last_line(self) -> str:
        lines = (self._folder / LOG).read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""

    def _take_new(self) -> None:
        for line in self._lines:
            if line is None:
                return
            self._heard = time.monotonic()
            entry = json.loads(line)
            if entry["report"] is None:
                self._finished.add(entry["test"])
                continue
            if isinstance(entry["report"]["longrepr"], list):  # where a skip is; JSON knows no tuples
                entry["report"]["longrepr"] = tuple(entry["report"]["longrepr"])
            self._reports[entry["test"]].append(entry["report"])

    def _read_lines(self) -> Iterator[str | None]:
        """Whole lines, and None each time there is no further one yet."""
        rest = ""
        with (self._folder / REPORTS).open() as file:
            while True:
                rest += file.readline()
                if not rest.endswith("\n"):
                    yield None
                    continue
                yield rest
                rest = ""

    def _no_guest(self, test: str) -> NoGuestError:
        if self._guest.returncode == os.EX_UNAVAILABLE:
            return NoGuestError(self._last_line(), unavailable=True)
        silent = "" if self._guest.poll() is not None else f" in {PATIENCE:.0f} s"
        return NoGuestError(f"the guest did not report {test}{silent}; {self._last_words()}", unavailable=False)

    def _last_words(self) -> str:
        """The ends of its log and of what its kernel has said."""
        return "\n".join(
            f"{what} ends:\n{_tail(self._folder / name)}" for what, name in (("its log", LOG), ("its console", CONSOLE))
        )


def _tail(file: Path) -> str:
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    return "\n".join(lines[-LAST_LINES:])


def note(folder: Path, test: str, report: Report | None) -> None:
    """In the guest: one line of the file that `Relay` reads."""
    with (folder / REPORTS).open("a") as file:
        file.write(json.dumps({"test": test, "report": report}) + "\n")
