"""Lanes of `hack/test`, as pytest itself collects them: each test is in one of them."""

import collections
import functools
import pathlib
import subprocess
import sys

from hack.suite import lanes

ROOT = pathlib.Path(__file__).parents[3]


@functools.cache
def collected(*arguments: str) -> list[str]:
    command = [sys.executable, "-P", "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


def of(lane: lanes.Lane) -> list[str]:
    return collected(*(each for each in lane.arguments if not each.startswith(("--numprocesses", "--dist"))))


def test_a_whole_run_has_each_test_once() -> None:
    once = collections.Counter(test for lane in lanes.planned(fast=False) for test in of(lane))
    assert [test for test, times in once.items() if times > 1] == []
    assert once.keys() == set(collected())


def test_a_fast_run_boots_nothing_measures_nothing_and_does_without_what_takes_long() -> None:
    [lane] = lanes.planned(fast=True)
    left_out = set(collected()) - set(of(lane))
    assert left_out == set(collected("-m", "lab or bench or slow"))
    assert any("tests/lab/" in each for each in left_out)
