"""State of a lane, from its events, and the lines that show it. Pure."""

import collections
import dataclasses
import heapq
from typing import Any

from tests import tiers

SLOWEST = 10


@dataclasses.dataclass(slots=True)
class Progress:
    """What is known of a lane: `at` and `seconds` are in seconds, `running` are tests and when each began."""

    name: str
    total: int = 0
    done: int = 0
    at: float = 0.0
    doing: str = "collecting tests"
    running: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=lambda: collections.defaultdict(float))
    failed: list[str] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)
    tally: tiers.Tally = dataclasses.field(default_factory=tiers.Tally)

    def take(self, event: dict[str, Any]) -> str | None:
        """Note an event; returns a test that has just failed."""
        self.at = event["at"]
        match event["event"]:
            case "collected":
                self.total, self.doing = event["count"], ""
            case "doing":
                self.doing = event["text"]
            case "remark":
                self.remarks.append(event["text"])
            case "started":
                self.running[event["test"]] = event["at"]
                self.doing = ""
            case "finished":
                self.running.pop(event["test"], None)
                self.done += 1
            case "report":
                return self._report(event)
        return None

    def _report(self, event: dict[str, Any]) -> str | None:
        test, step = event["test"], tiers.Step(**event["step"])
        self.seconds[test] += step.seconds
        self.tally.take(step)
        if event["outcome"] != "failed" or test in self.failed:
            return None
        self.failed.append(test)
        return str(test)

    def line(self) -> str:
        """Return what the lane is doing now, for people."""
        longest = min(self.running, key=self.running.__getitem__, default="")
        what = self.doing or longest.removeprefix("tests/")
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{self.done} of {self.total or '?'}{failed}: {what or 'ending'}"


@dataclasses.dataclass(frozen=True, slots=True)
class Phase:
    """A part of the run, in seconds since its beginning."""

    name: str
    began: float
    ended: float
    what: str = ""


def summary(lanes: list[Progress], phases: list[Phase]) -> list[str]:
    """Return the lines at the end of a run: what ran when, each tier, the slowest tests, and what failed."""
    lines = ["seconds, and what ran beside what:"]
    lines += [f"{each.began:7.0f} to {each.ended:5.0f}  {each.name:<16} {each.what}".rstrip() for each in phases]
    lines += [line for lane in lanes for line in (f"{lane.name}:", *_indented(lane.tally.lines()))]
    slowest = heapq.nlargest(SLOWEST, ((took, test) for lane in lanes for test, took in lane.seconds.items()))
    lines += ["slowest:", *_indented([f"{took:6.1f} s  {test}" for took, test in slowest])]
    lines += [f"{lane.name}: {text}" for lane in lanes for text in lane.remarks]
    failed = [test for lane in lanes for test in lane.failed]
    return lines + (["failed:", *_indented(failed)] if failed else [])


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
