"""Summary of the tests' tiers, some lines at the end of a run: seconds, and what was skipped and why.

Tiers are what tests need: nothing but Python (`mock`), root and this machine's kernel (`kernel`), a guest (`guest`).
"""

import collections
import dataclasses
import os

import pytest

LONG = os.environ.get("SRIOV_LONG") == "1"
"""Whether the random tests go on for hours: `hack/test --long`."""
MARKS = {"lab": "guest", "root": "kernel"}


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """Setup, call or teardown of a test: its tier, its seconds, and why it was skipped; None if it was not."""

    tier: str
    when: str
    seconds: float
    skipped: str | None = None


def step(report: pytest.TestReport) -> Step:
    tier = next((tier for mark, tier in MARKS.items() if mark in report.keywords), "mock")
    skipped = _reason(report) if report.skipped and not hasattr(report, "wasxfail") else None
    return Step(tier, report.when, report.duration, skipped)


class Tally:
    """Sums of steps by tier. If tests run side by side, seconds are those of all processes together."""

    def __init__(self) -> None:
        self._tests: collections.Counter[str] = collections.Counter()
        self._seconds: collections.Counter[str] = collections.Counter()
        self._skipped: collections.Counter[tuple[str, str]] = collections.Counter()

    def take(self, step: Step) -> None:
        self._seconds[step.tier] += int(step.seconds * 1000)
        self._tests[step.tier] += step.when == "call"
        if step.skipped is not None:
            self._skipped[step.tier, step.skipped] += 1

    def lines(self) -> list[str]:
        told = [
            f"{tier:<7}{self._tests[tier]:>5} tests in {self._seconds[tier] / 1000:>4.0f} s"
            for tier in ("mock", "kernel", "guest")
            if self._seconds[tier]
        ]
        return told + [f"{count} of {tier} skipped: {reason}" for (tier, reason), count in self._skipped.items()]


class Tiers:
    """A plugin of pytest."""

    def __init__(self) -> None:
        self._tally = Tally()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._tally.take(step(report))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("tiers")
        for line in self._tally.lines():
            terminalreporter.line(line)


def _reason(report: pytest.TestReport) -> str:
    """pytest keeps where, in which line, and why."""
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)
