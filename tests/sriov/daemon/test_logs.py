"""Lines of the log, as a machine and as a person read them."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from sriov.daemon import logs
from tests.deviceplugin import loops

log = logging.getLogger("tests.logging")


class Written:
    """What a handler of that format writes."""

    def __init__(self, how: logs.Format) -> None:
        self._stream = io.StringIO()
        self.handler = logs.handler(self._stream, how)

    @property
    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    @property
    def last(self) -> str:
        return self.lines[-1]


@pytest.fixture
def human() -> Iterator[Written]:
    yield from _attached(logs.Format.HUMAN)


@pytest.fixture
def machine() -> Iterator[Written]:
    yield from _attached(logs.Format.JSON)


def _attached(how: logs.Format) -> Iterator[Written]:
    written = Written(how)
    log.addHandler(written.handler)
    log.setLevel(logging.DEBUG)
    yield written
    log.removeHandler(written.handler)


def test_a_line_without_work_is_what_it_was(human: Written) -> None:
    log.info("listening on %s", "x")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO listening on x", human.last)


def test_json_has_time_level_logger_and_message(machine: Written) -> None:
    log.warning('a "quoted"\nmessage %d', 7)
    told = json.loads(machine.last)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", told.pop("time"))
    assert told == {"level": "warning", "logger": "tests.logging", "message": 'a "quoted"\nmessage 7'}


def test_an_exception_is_one_line_of_json_with_its_trace(machine: Written) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("what happened")
    [line] = machine.lines
    assert json.loads(line)["exception"].endswith("ValueError: broken")


def test_work_is_in_every_line_of_its_task_and_threads_and_in_no_other(machine: Written) -> None:
    async def work(pod: str) -> None:
        logs.begin(pod=pod, vf="")
        logs.about(interface="net1")
        with logs.within(vf="0000:01:10.0"):
            await asyncio.to_thread(log.info, "in a thread")
            await asyncio.create_task(_say("in a task"))
        log.info("afterwards")

    async def both() -> None:
        await asyncio.gather(work("a"), work("b"))
        log.info("outside")

    loops.run(both())
    told = [json.loads(line) for line in machine.lines]
    for pod in "ab":
        mine = {each["message"]: each for each in told if each.get("pod") == pod}
        assert {message: each.get("vf") for message, each in mine.items()} == {
            "in a thread": "0000:01:10.0",
            "in a task": "0000:01:10.0",
            "afterwards": None,
        }
        assert all(each["interface"] == "net1" and each["duration_ms"] >= 0 for each in mine.values())
    assert set(told[-1]) == {"time", "level", "logger", "message"}


async def _say(text: str) -> None:
    log.info(text)


def test_no_value_makes_a_line_of_its_own_or_a_long_one(human: Written) -> None:
    async def work() -> None:
        logs.begin(pod="x\n2026-01-01 00:00:00,000 INFO forged", namespace="n" * 100_000)
        log.info("said")

    loops.run(work())
    [line] = human.lines
    assert r"pod='x\n2026-01-01 00:00:00,000 INFO forged'" in line
    assert f"namespace={'n' * 253} duration_ms=" in line
