"""Progress of a lane, and the summary of a run, from events."""

from typing import Any

from hack.suite import progress


def event(kind: str, at: float, **more: Any) -> dict[str, Any]:
    return {"event": kind, "at": at, **more}


def report(test: str, outcome: str = "passed", seconds: float = 1.0, **more: Any) -> dict[str, Any]:
    step = {"tier": "mock", "when": "call", "seconds": seconds, **more}
    return event("report", 9.0, test=test, outcome=outcome, step=step)


def test_a_lane_shows_how_many_are_done_and_what_has_run_longest() -> None:
    lane = progress.Progress("one")
    assert lane.line() == "0 of ?: collecting tests"
    for each in (
        event("collected", 1.0, count=3),
        event("started", 2.0, test="tests/a.py::first"),
        event("started", 3.0, test="tests/a.py::second"),
        event("finished", 4.0, test="tests/a.py::first"),
    ):
        assert lane.take(each) is None
    assert lane.line() == "1 of 3: a.py::second"
    lane.take(event("finished", 5.0, test="tests/a.py::second"))
    assert lane.line() == "2 of 3: ending"


def test_what_is_prepared_shows_until_a_test_starts() -> None:
    lane = progress.Progress("guest")
    lane.take(event("collected", 1.0, count=3))
    lane.take(event("doing", 2.0, text="lab: booting … 12 s"))
    assert lane.line() == "0 of 3: lab: booting … 12 s"
    lane.take(event("started", 3.0, test="tests/a.py::first"))
    assert lane.line() == "0 of 3: a.py::first"


def test_a_test_that_fails_in_two_steps_is_told_once() -> None:
    lane = progress.Progress("one")
    assert lane.take(report("t", "failed")) == "t"
    assert lane.take(report("t", "failed", when="teardown")) is None
    assert (lane.failed, lane.line()) == (["t"], "0 of ?, 1 failed: collecting tests")


def test_what_a_reader_of_the_result_should_know_is_in_the_summary() -> None:
    lane = progress.Progress("guest 1")
    lane.take(event("remark", 1.0, text="the guest stood still"))
    assert "guest 1: the guest stood still" in progress.summary([lane], [])


def test_the_summary_names_times_tiers_the_slowest_ten_and_what_failed() -> None:
    lane = progress.Progress("one")
    for number in range(12):
        lane.take(report(f"t{number:02}", seconds=float(number)))
    lane.take(report("broken", "failed", when="setup", seconds=0.5))
    lane.take(report("away", "skipped", when="setup", seconds=0.0, skipped="needs root"))
    phases = [progress.Phase("packages, venv", 0, 12.4), progress.Phase("one", 12.4, 80.0, "14 tests, exit status 1")]
    assert progress.summary([lane], phases) == [
        "seconds, and what ran beside what:",
        "      0 to    12  packages, venv",
        "     12 to    80  one              14 tests, exit status 1",
        "one:",
        "  mock      12 tests in   66 s",
        "  1 of mock skipped: needs root",
        "slowest:",
        *(f"  {number:6.1f} s  t{number:02}" for number in range(11, 1, -1)),
        "failed:",
        "  broken",
    ]
