"""Lanes of `hack/test`, as pytest itself collects them: each test is in one of them."""

import collections
import json
import pathlib
import subprocess
import sys

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


def test_a_whole_run_has_each_test_once() -> None:
    every, *parts = collected((), *map(of, lanes.planned(fast=False)))
    once = collections.Counter(test for part in parts for test in part)
    assert [test for test, times in once.items() if times > 1] == []
    assert once.keys() == set(every)


def test_a_fast_run_boots_nothing_measures_nothing_and_does_without_what_takes_long() -> None:
    [lane] = lanes.planned(fast=True)
    every, fast, slow = collected((), of(lane), ("-m", "lab or bench or slow"))
    left_out = set(every) - set(fast)
    assert left_out == set(slow)
    assert any("tests/lab/" in each for each in left_out)
