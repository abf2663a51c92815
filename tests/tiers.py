"""Summary of the tests' tiers, some lines at the end of a run: seconds, and what was skipped and why.

Tiers are what tests need: nothing but Python (`mock`), root and this machine's kernel (`kernel`), a guest (`guest`).
"""

import collections

import pytest

MARKS = {"lab": "guest", "root": "kernel"}


class Tiers:
    """A plugin of pytest. Where tests run side by side, seconds are of all processes together."""

    def __init__(self) -> None:
        self._tests: collections.Counter[str] = collections.Counter()
        self._seconds: collections.Counter[str] = collections.Counter()
        self._skipped: collections.Counter[tuple[str, str]] = collections.Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        tier = next((tier for mark, tier in MARKS.items() if mark in report.keywords), "mock")
        self._seconds[tier] += int(report.duration * 1000)
        self._tests[tier] += report.when == "call"
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skipped[tier, _reason(report)] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("tiers")
        for line in self.lines():
            terminalreporter.line(line)

    def lines(self) -> list[str]:
        told = [
            f"{tier:<7}{self._tests[tier]:>5} tests in {self._seconds[tier] / 1000:>4.0f} s"
            for tier in ("mock", "kernel", "guest")
            if self._seconds[tier]
        ]
        return told + [f"{count} of {tier} skipped: {reason}" for (tier, reason), count in self._skipped.items()]


def _reason(report: pytest.TestReport) -> str:
    """pytest keeps where, in which line, and why."""
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)
