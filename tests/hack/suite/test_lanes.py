"""Lanes of `hack/test`, as pytest itself collects them: each test is in one of them."""

import collections
import json
import pathlib
import subprocess
import sys

import pytest

from hack.suite import lanes

ROOT = pathlib.Path(__file__).parents[3]


# The tests are imported once. Each session begins from there: pytest escapes the names of parameters again in a process
# that has collected them before.
_SESSIONS = """
import json, os, sys, pytest

def collect(*arguments):
    return pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *arguments])

collect()
for arguments in json.loads(sys.argv[1]):
    print("SESSION", flush=True)
    child = os.fork()
    if not child:
        status = collect(*arguments)
        sys.stdout.flush()
        os._exit(status)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""


def collected(*sessions: tuple[str, ...]) -> list[list[str]]:
    """Return the tests that pytest collects with each of these arguments."""
    command = [sys.executable, "-P", "-c", _SESSIONS, json.dumps(sessions)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    printed = done.stdout.split("SESSION\n")[1:]
    return [[line for line in each.splitlines() if "::" in line] for each in printed]


def of(lane: lanes.Lane) -> tuple[str, ...]:
    return tuple(each for each in lane.arguments if not each.startswith(("--numprocesses", "--dist")))


SLOW = ("-m", "lab or bench or slow or root")


@pytest.fixture(scope="module")
def sessions() -> dict[tuple[str, ...], list[str]]:
    """The tests by their arguments: all, those of each lane, and those that a fast run leaves out."""
    planned = [*lanes.planned(fast=False), *lanes.planned(fast=True)]
    arguments = ((), SLOW, *map(of, planned))
    return dict(zip(arguments, collected(*arguments), strict=True))


def test_a_whole_run_has_each_test_once(sessions: dict[tuple[str, ...], list[str]]) -> None:
    parts = [sessions[of(lane)] for lane in lanes.planned(fast=False)]
    once = collections.Counter(test for part in parts for test in part)
    assert [test for test, times in once.items() if times > 1] == []
    assert once.keys() == set(sessions[()])


def test_a_fast_run_boots_nothing_measures_nothing_and_does_without_what_takes_long(
    sessions: dict[tuple[str, ...], list[str]],
) -> None:
    [lane] = lanes.planned(fast=True)
    left_out = set(sessions[()]) - set(sessions[of(lane)])
    assert left_out == set(sessions[SLOW])
    assert any("tests/lab/" in each for each in left_out)
