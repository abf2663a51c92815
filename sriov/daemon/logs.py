"""The log on stderr: for people or as JSON, each line with what the work at hand is about.

What a line is about (pod, VF, …) goes with the task that does the work and with the tasks and threads that it starts,
so that whoever logs need not know it. Only what a caller names gets into a line: no configuration, no arguments.
"""

import asyncio
import contextlib
import contextvars
import dataclasses
import datetime
import enum
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TextIO

_log = logging.getLogger(__name__)

LEVELS = ("debug", "info", "warning", "error")
_LIBRARIES = ("pyroute2", "asyncio")  # at debug they print every message and change that they see
_LONGEST = 253  # characters of a value: a pod's name, a DNS name


class Format(enum.StrEnum):
    HUMAN = "human"
    JSON = "json"


@dataclasses.dataclass(frozen=True, slots=True)
class _Work:
    """What is being done, and since when (seconds of the monotonic clock)."""

    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    began: float | None = None


_NOTHING = _Work()
_work: contextvars.ContextVar[_Work] = contextvars.ContextVar("work", default=_NOTHING)


def begin(**facts: str) -> None:
    """Work begins in this task: its lines have these facts, where they are known, and how long it has gone on."""
    _work.set(_Work(_known(facts), time.monotonic()))


def about(**facts: str) -> None:
    """What the calling task does is also about this."""
    now = _work.get()
    _work.set(_Work({**now.facts, **_known(facts)}, now.began))


@contextlib.contextmanager
def within(**facts: str) -> Iterator[None]:
    """The block is also about this."""
    before = _work.set(_work.get())
    try:
        about(**facts)
        yield
    finally:
        _work.reset(before)


def _known(facts: Mapping[str, str]) -> dict[str, str]:
    return {key: value[:_LONGEST] for key, value in facts.items() if value}


def start(level: str, how: Format) -> None:
    """Log to stderr from now on."""
    root = logging.getLogger()
    root.addHandler(handler(sys.stderr, how))
    root.setLevel(level.upper())
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)


def follow_signals(level: str) -> None:
    """SIGUSR1 makes the log say everything, SIGUSR2 what was asked for at the start. For the running loop."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, _change, "debug")
    loop.add_signal_handler(signal.SIGUSR2, _change, level)


def _change(level: str) -> None:
    root = logging.getLogger()
    root.setLevel(logging.INFO)  # so that this line is there, whichever way it goes
    _log.info("the log's level is %s from here on", level)
    root.setLevel(level.upper())


def handler(stream: TextIO, how: Format) -> logging.Handler:
    made = logging.StreamHandler(stream)
    made.setFormatter(_Json() if how is Format.JSON else _Human("%(asctime)s %(levelname)s %(message)s"))
    return made


def _facts() -> dict[str, str | float]:
    work = _work.get()
    if work.began is None:
        return dict(work.facts)
    return {**work.facts, "duration_ms": round((time.monotonic() - work.began) * 1000, 1)}


class _Human(logging.Formatter):
    """The facts stand behind the message. Whatever is in a value, it makes no second line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        facts = [f"{key}={_plain(str(value))}" for key, value in _facts().items()]
        return " ".join([super().formatMessage(record), *facts])


def _plain(value: str) -> str:
    return value if value.isprintable() and " " not in value else repr(value)


class _Json(logging.Formatter):
    """One object a line: time (RFC 3339, UTC), level, logger, message, exception where there is one, and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, object] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)
