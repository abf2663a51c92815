"""Log on stderr, for people or as JSON; each line with the facts of the work it belongs to.

Facts of a line (pod, VF, …) belong to the task that does the work and to the tasks and threads that it starts, so that
the function that logs need not know them. A line has only facts that a caller names: no configuration, no arguments.
"""

import argparse
import contextlib
import contextvars
import datetime
import enum
import json
import logging
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TextIO

import msgspec

_log = logging.getLogger(__name__)

LEVELS = ("debug", "info", "warning", "error")
_LIBRARIES = ("pyroute2", "asyncio")  # at debug they log every message and change that they see
_LONGEST = 253  # characters of a value: a pod's name, a DNS name


class Format(enum.StrEnum):
    HUMAN = "human"
    JSON = "json"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags by which a program is told how to log."""
    parser.add_argument(
        "--log-format",
        type=Format,
        choices=list(Format),
        default=Format.HUMAN,
        help="lines for people, or JSON objects (%(default)s)",
    )
    parser.add_argument(
        "--log-level", choices=LEVELS, default="info", help="SIGUSR1: debug; SIGUSR2: back (%(default)s)"
    )
    parser.add_argument(
        "--log-level-file", type=pathlib.Path, help="file with the level, followed while the program runs (off)"
    )


class _Work(msgspec.Struct, frozen=True):
    """The facts of the present work, and when it began (seconds of the monotonic clock)."""

    facts: Mapping[str, str] = msgspec.field(default_factory=dict)
    began: float | None = None


_NOTHING = _Work()
_work: contextvars.ContextVar[_Work] = contextvars.ContextVar("work", default=_NOTHING)


def begin(**facts: str) -> None:
    """Begin work in this task: its lines get these facts, except empty ones, and the time since now."""
    _work.set(_Work(_known(facts), time.monotonic()))


def about(**facts: str) -> None:
    """Add facts to the work of the calling task."""
    now = _work.get()
    _work.set(_Work({**now.facts, **_known(facts)}, now.began))


@contextlib.contextmanager
def within(**facts: str) -> Iterator[None]:
    """Add facts for the block."""
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


def change(level: str) -> None:
    """Set the level, and log that it is another now, whatever the old one and the new one are."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    _log.info("the log level is now %s", level)
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
    """Lines for people: the message, then the facts. No value can start a second line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        facts = [f"{key}={_plain(str(value))}" for key, value in _facts().items()]
        return " ".join([super().formatMessage(record), *facts])


def _plain(value: str) -> str:
    return value if value.isprintable() and " " not in value else repr(value)


class _Json(logging.Formatter):
    """One object for each line: time (RFC 3339, UTC), level, logger, message, any exception, and the facts."""

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
