"""What a daemon does all along, beside what it is asked for: a failure is told and counted, and the work goes on.

A task that nobody awaits ends with its first exception and nobody hears of it. Here each has a name, is begun again
after a pause that grows, and until it has gone well again it is a problem of the daemon, which readiness, metrics and
`sriovctl doctor` show. For one event loop; what it tells may be read by any thread.
"""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

_log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[object]]


@dataclasses.dataclass(frozen=True, slots=True)
class RetryTimings:
    """Seconds. The `first` pause doubles up to the `longest`; work that has gone on for `settled` goes well; what has
    an end and has not come to it after `limit` hangs."""

    first: float = 1.0
    longest: float = 30.0
    settled: float = 30.0
    limit: float = 120.0

    def pause(self, in_a_row: int) -> float:
        return min(self.longest, self.first * 2.0 ** min(in_a_row - 1, 30))


@dataclasses.dataclass(slots=True)
class Task:
    """`failures` ever, `in_a_row` since it last went well; `problem` is the last one's, empty where it goes well.

    `began` is when a round that has an end began (the loop's clock), None between rounds.
    """

    failures: int = 0
    in_a_row: int = 0
    problem: str = ""
    began: float | None = None


class Background:
    def __init__(self, timings: RetryTimings = RetryTimings()) -> None:
        self._timings = timings
        self._tasks: dict[str, Task] = {}

    @property
    def tasks(self) -> list[tuple[str, Task]]:
        """Each by its name."""
        return list(self._tasks.items())

    def problems(self) -> list[str]:
        """A line for each task that does not go well. For the loop alone."""
        return [line for name, task in self.tasks if (line := self._line(name, task))]

    async def keep(self, name: str, work: Work) -> None:
        """Do `work`, and again after a pause for as long as it fails. Returns when it has ended well."""
        task = self._tasks.setdefault(name, Task())
        try:
            while not await self._try(name, task, work):
                await asyncio.sleep(self._timings.pause(task.in_a_row))
        finally:
            _went_well(task)

    async def every(self, interval: float, name: str, work: Work) -> None:
        """Do `work`, which has an end, at once and every `interval` seconds, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            await self.keep(name, lambda: self._within_its_limit(name, work))
            await asyncio.sleep(max(0.0, started + interval - clock()))

    async def once(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Do what is not worth doing again. Never raises."""
        try:
            await work
        except Exception:  # nobody awaits it: this is where it ends
            self._tasks.setdefault(name, Task()).failures += 1
            _log.exception("%s: failed", name)

    async def _try(self, name: str, task: Task, work: Work) -> bool:
        try:
            async with self._settling(task):
                await work()
        except Exception as error:  # whatever it is, the work has to go on
            task.failures += 1
            task.in_a_row += 1
            task.problem = f"{type(error).__name__}: {error}"
            pause = self._timings.pause(task.in_a_row)
            _log.exception("%s: failed (%d in a row), goes on in %g s", name, task.in_a_row, pause)
            return False
        return True

    @contextlib.asynccontextmanager
    async def _settling(self, task: Task) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        settled = loop.call_later(self._timings.settled, _went_well, task)
        try:
            yield
        finally:
            settled.cancel()

    async def _within_its_limit(self, name: str, work: Work) -> None:
        """Work that takes too long is not ended, since a thread cannot be: that it does is told."""
        task = self._tasks[name]
        task.began = asyncio.get_running_loop().time()
        try:
            await work()
        finally:
            task.began = None

    def _line(self, name: str, task: Task) -> str:
        if task.problem:
            return f"{name}: failed {task.in_a_row} times in a row, last with {task.problem}"
        took = 0.0 if task.began is None else asyncio.get_running_loop().time() - task.began
        return f"{name}: has not ended for {took:.0f} s" if took > self._timings.limit else ""


def _went_well(task: Task) -> None:
    task.in_a_row, task.problem = 0, ""
