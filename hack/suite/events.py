"""Plugin of pytest that writes down what happens in a session, one JSON object a line.

`hack/test` follows the files of all its lanes while they run. Of a session with several processes, the one that
gathers their reports writes.
"""

import dataclasses
import json
import pathlib
import time
from typing import Any

import pytest

from tests import tiers


class Events:
    """The session's events: `collected`, `started`, `report`, `finished`, `doing` while something is prepared, and
    `remark` for what a reader of the result should know."""

    def __init__(self, file: pathlib.Path) -> None:
        self._file = file.open("a", buffering=1)

    def doing(self, text: str) -> None:
        self._write("doing", text=text)

    def remark(self, text: str) -> None:
        self._write("remark", text=text)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:
            self._write("collected", count=len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._write("collected", count=len(ids))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write("started", test=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        step = dataclasses.asdict(tiers.step(report))
        self._write("report", test=report.nodeid, outcome=report.outcome, step=step)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._write("finished", test=nodeid)

    def pytest_unconfigure(self) -> None:
        self._file.close()

    def _write(self, event: str, **more: Any) -> None:
        self._file.write(json.dumps({"event": event, "at": time.time(), **more}) + "\n")
