"""The summary at the end of a run says what was skipped, and why."""

import pytest

from tests import tiers


def report(when: str, outcome: str, mark: str, reason: object = None) -> pytest.TestReport:
    return pytest.TestReport("t", ("t.py", 1, "t"), {mark: 1}, outcome, reason, when, duration=1.5)  # type: ignore[arg-type]


def test_each_tier_has_its_line_and_each_reason_of_a_skip() -> None:
    summary = tiers.Tally()
    for when in ("setup", "call", "teardown"):
        summary.take(tiers.step(report(when, "passed", "lab")))
    summary.take(tiers.step(report("call", "passed", "anything")))
    for _ in range(2):
        summary.take(tiers.step(report("setup", "skipped", "root", ("t.py", 1, "Skipped: needs root"))))
    assert summary.lines() == [
        "mock       1 tests in    2 s",
        "kernel     0 tests in    3 s",
        "guest      1 tests in    4 s",
        "2 of kernel skipped: needs root",
    ]
