"""Background tasks of a daemon: a failure is logged and counted, and the work is started again.

A task that nobody awaits ends with its first exception, which nobody sees. Here each task has a name, is started again
after a pause that grows, and until it has gone well again it is a problem of the daemon, which readiness, metrics and
`sriovctl doctor` show. For one event loop; any thread may read the state of the tasks.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import msgspec

_log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[object]]


class RetryTimings(msgspec.Struct, frozen=True):
    """Times in seconds. The `first` pause doubles up to the `longest`. Work that has run for `settled` goes well. A
    round of work that has not ended after `limit` hangs."""

    first: float = 1.0
    longest: float = 30.0
    settled: float = 30.0
    limit: float = 120.0

    def pause(self, in_a_row: int) -> float:
        return min(self.longest, self.first * 2.0 ** min(in_a_row - 1, 30))


class Task(msgspec.Struct):
    """State of one task. `failures` counts all, `in_a_row` those since it last went well.

    `problem` is the last failure's, empty while the task goes well. `began` is when the present round of periodic work
    began (the loop's clock), None between rounds.
    """

    failures: int = 0
    in_a_row: int = 0
    problem: str = ""
    began: float | None = None


_TIMINGS = RetryTimings()


class Background:
    def __init__(self, timings: RetryTimings = _TIMINGS) -> None:
        self._timings = timings
        self._tasks: dict[str, Task] = {}

    @property
    def tasks(self) -> list[tuple[str, Task]]:
        """The tasks by name."""
        return list(self._tasks.items())

    def problems(self) -> list[str]:
        """Return a line for each task that does not go well. Only for the loop's own thread."""
        return [line for name, task in self.tasks if (line := self._line(name, task))]

    async def keep(self, name: str, work: Work) -> None:
        """Run `work`, and run it again after a pause whenever it fails. Returns when it has ended well."""
        task = self._tasks.setdefault(name, Task())
        try:
            while not await self._try(name, task, work):
                await asyncio.sleep(self._timings.pause(task.in_a_row))
        finally:
            _went_well(task)

    async def every(self, interval: float, name: str, work: Work) -> None:
        """Run `work`, which must end, at once and every `interval` seconds, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            await self.keep(name, lambda: self._within_its_limit(name, work))
            await asyncio.sleep(max(0.0, started + interval - clock()))

    async def once(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run work that is not worth a second try. Never raises."""
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
            _log.exception("%s: failed (%d in a row), retrying in %g s", name, task.in_a_row, pause)
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
        """Run one round. A round that takes too long is only reported: a thread cannot be ended."""
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


def stopped_by(*numbers: signal.Signals) -> asyncio.Event:
    """Return an event that these signals set from now on."""
    stop = asyncio.Event()
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def run_until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run a daemon's work until it ends, or `stop` is set: it is cancelled then. Raises what it raises."""
    main = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    main.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await main
