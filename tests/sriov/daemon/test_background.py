"""Work that goes on: whatever it fails with it is begun again, and whoever looks sees that it fails."""

import asyncio

import prometheus_client
import pytest

from sriov.daemon import background, process_metrics
from tests.deviceplugin import loops

QUICK = background.RetryTimings(first=0.01, longest=0.04, settled=0.1, limit=0.05)


class Work:
    """Fails while `broken`."""

    def __init__(self) -> None:
        self.broken = True
        self.rounds = 0

    async def round(self) -> None:
        self.rounds += 1
        if self.broken:
            raise OSError(24, "Too many open files")

    async def endless(self) -> None:
        await self.round()
        await asyncio.Event().wait()


def test_a_round_that_fails_is_told_and_the_next_one_comes() -> None:
    async def body() -> None:
        tasks, work = background.Background(QUICK), Work()
        async with loops.running(tasks.every(0.01, "repair", work.round)):
            await loops.until(lambda: work.rounds >= 3)
            [line] = tasks.problems()
            assert line.startswith("repair: failed ")
            assert "OSError: [Errno 24] Too many open files" in line
            work.broken = False
            await loops.until(lambda: not tasks.problems())
            rounds = work.rounds
            await loops.until(lambda: work.rounds > rounds)
            assert tasks.problems() == []
            assert dict(tasks.tasks)["repair"].failures >= 3

    loops.run(body())


def test_endless_work_is_a_problem_until_it_has_gone_on_for_a_while() -> None:
    async def body() -> None:
        tasks, work = background.Background(QUICK), Work()
        async with loops.running(tasks.keep("uevents", work.endless)):
            await loops.until(lambda: work.rounds >= 2)
            work.broken = False
            rounds = work.rounds
            await loops.until(lambda: work.rounds > rounds)
            assert len(tasks.problems()) == 1, "that it has begun again shows nothing yet"
            await loops.until(lambda: not tasks.problems())
        assert tasks.problems() == []

    loops.run(body())


def test_pauses_grow_up_to_the_longest() -> None:
    timings = background.RetryTimings(first=1, longest=30)
    assert [timings.pause(each) for each in (1, 2, 3, 5, 6, 1000)] == [1, 2, 4, 16, 30, 30]


def test_a_round_that_never_ends_is_a_problem_too() -> None:
    async def body() -> None:
        tasks = background.Background(QUICK)
        async with loops.running(tasks.every(1, "repair", asyncio.Event().wait)):
            await loops.until(lambda: bool(tasks.problems()))
            assert tasks.problems()[0].startswith("repair: has not ended for ")

    loops.run(body())


def test_what_is_done_once_and_fails_is_counted_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        tasks = background.Background(QUICK)
        await tasks.once("announcing", Work().round())
        assert (dict(tasks.tasks)["announcing"].failures, tasks.problems()) == (1, [])

    loops.run(body())
    assert "announcing: failed" in caplog.text


def test_a_scrape_has_each_task() -> None:
    registry = prometheus_client.CollectorRegistry()

    async def body() -> None:
        tasks, work = background.Background(QUICK), Work()
        registry.register(process_metrics.BackgroundTasks(tasks))
        async with loops.running(tasks.every(0.01, "repair", work.round)):
            await loops.until(lambda: work.rounds > 1)
            assert registry.get_sample_value("sriov_background_failing", {"task": "repair"}) == 1
            work.broken = False
            await loops.until(lambda: not tasks.problems())
            assert registry.get_sample_value("sriov_background_failing", {"task": "repair"}) == 0
            failures = registry.get_sample_value("sriov_background_failures_total", {"task": "repair"})
            assert failures is not None
            assert failures >= 1

    loops.run(body())
