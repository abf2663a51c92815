"""Durations of a call's steps, for callers that ask for them: read when the call is over.

Steps of a call may run beside one another, in threads too, so they need not add up. If nobody asked, a step costs one
look at a variable. This module does not know who reads them.
"""

import contextlib
import contextvars
import enum
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager


class Step(enum.StrEnum):
    """A step of a call. Each package that times something has a subclass with its own members.

    The value is what the log says, and no two steps of a program have the same; the name is the metric's label.
    """


class Steps:
    """Seconds by step, in the order in which the steps ended; repeated steps are added up."""

    def __init__(self) -> None:
        self._seconds: dict[Step, float] = {}
        self.retries = 0
        """Requests that were made again, since the kernel or a driver was busy."""

    @property
    def seconds(self) -> Mapping[Step, float]:
        return self._seconds

    def __str__(self) -> str:
        return ", ".join(f"{step} {seconds * 1000:.1f} ms" for step, seconds in self._seconds.items()) or "nothing"

    @contextlib.contextmanager
    def timing(self, step: Step) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds[step] = self._seconds.get(step, 0) + time.monotonic() - began


_current: contextvars.ContextVar[Steps | None] = contextvars.ContextVar("steps", default=None)
_untimed = contextlib.nullcontext()


def ask() -> Steps:
    """Time the steps of the calling task from now on, and of the tasks and threads that it starts."""
    steps = Steps()
    _current.set(steps)
    return steps


def timed(step: Step) -> AbstractContextManager[None]:
    """Time the block as this step."""
    steps = _current.get()
    return _untimed if steps is None else steps.timing(step)


def retried() -> None:
    """Count a request that is made again."""
    steps = _current.get()
    if steps is not None:
        steps.retries += 1
