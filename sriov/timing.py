"""Where a call's time goes, for those who ask: what each step took, told once the call is over.

Steps of a call may go on beside one another, in threads too, so they need not add up. Where nobody asked, a step costs
a look at a variable. Refuses to know who is told.
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
    """Seconds by step, in the order in which they ended; a step that comes twice is added up."""

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
    """Time the steps of what the calling task does from now on, and of the tasks and threads that it starts."""
    steps = Steps()
    _current.set(steps)
    return steps


def timed(step: Step) -> AbstractContextManager[None]:
    """The block is this step."""
    steps = _current.get()
    return _untimed if steps is None else steps.timing(step)


def retried() -> None:
    """A request is made again."""
    steps = _current.get()
    if steps is not None:
        steps.retries += 1
