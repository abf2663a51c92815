"""The tests of this folder run in a guest with real SR-IOV, from an ordinary `pytest tests/lab`.

On the machine itself each test is a stand-in: the first boots one guest for all that are selected, and each then
shows what the guest's own pytest reports. In the guest (SRIOV_LAB=guest) they simply run. Where there can be no
guest they are skipped with the reason, unless CI=true says that they must run.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.lab import relay, shims

PROJECT = Path(__file__).parents[2]
IN_GUEST = os.environ.get("SRIOV_LAB") == "guest"
MUST_RUN = os.environ.get("CI") == "true"
GUEST = pytest.StashKey[relay.Relay]()
FOLDER = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--guest-cpus", metavar="N", help="CPUs of the tests' guest; default: 2")


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("lab")
    if not IN_GUEST:
        # A stand-in waits for the guest, whose pytest has a limit for each test; relay has one for the guest's silence.
        item.add_marker(pytest.mark.timeout(relay.PATIENCE * 1.2))


def pytest_collection_finish(session: pytest.Session) -> None:
    shims.NATIVE.provide(session, Path(__file__).parent)


if IN_GUEST:

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        data = item.config.hook.pytest_report_to_serializable(config=item.config, report=report)
        relay.note(Path(os.environ["LAB_OUT"]), item.nodeid, data)
        return report

    def pytest_runtest_logfinish(nodeid: str) -> None:
        relay.note(Path(os.environ["LAB_OUT"]), nodeid, None)

else:

    def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Unlike the others here, this hook is called for every test of a session."""
        if not _is_ours(item):
            if nextitem is None or not _is_ours(nextitem):
                return None
            # A stand-in sets up nothing and takes nothing down, not what this one leaves for the next of its folder.
            done: bool | None = item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
            return done
        _guest(item)
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in _reports(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_sessionfinish(session: pytest.Session) -> None:
        if GUEST not in session.stash:
            return
        session.stash[GUEST].stop()
        if session.testsfailed == 0:
            shutil.rmtree(session.stash[FOLDER])


def _is_ours(item: pytest.Item) -> bool:
    return Path(__file__).parent in item.path.parents and relay.HERE not in item.stash


def _reports(item: pytest.Item) -> list[pytest.TestReport]:
    try:
        tell, remark = (functools.partial(_told, item.config, hook) for hook in ("doing", "remark"))
        found = _guest(item).reports(item.nodeid, tell, remark)
    except relay.NoGuestError as error:
        outcome = "skipped" if error.unavailable and not MUST_RUN else "failed"
        return [_report(item, "setup", outcome, str(error)), _report(item, "teardown", "passed", "")]
    hook = item.config.hook.pytest_report_from_serializable
    return [hook(config=item.config, data=data) for data in found]


def _guest(item: pytest.Item) -> relay.Relay:
    stash = item.session.stash
    if GUEST not in stash:
        tests = [each.nodeid for each in item.session.items if _is_ours(each)]
        stash[FOLDER] = Path(tempfile.mkdtemp(prefix="sriov-lab-tests-"))
        cpus = item.config.getoption("--guest-cpus", None)
        options = [*stash.get(relay.OPTIONS, []), *(["--cpus", cpus] if cpus else [])]
        stash[GUEST] = relay.Relay(PROJECT / "hack" / "lab", stash[FOLDER], tests, options)
        _say(item.config, f"booting a guest for {len(tests)} tests; its log: {stash[FOLDER] / relay.LOG}")
    return stash[GUEST]


def _report(item: pytest.Item, when: str, outcome: str, reason: str) -> pytest.TestReport:
    path, line, _ = item.location
    longrepr = (path, (line or 0) + 1, f"Skipped: {reason}") if outcome == "skipped" else reason or None
    keywords = dict.fromkeys(item.keywords, 1)
    return pytest.TestReport(item.nodeid, item.location, keywords, outcome, longrepr, when)  # type: ignore[arg-type]


def _told(config: pytest.Config, hook: str, text: str) -> None:
    """Tell a plugin that shows what is being prepared (`doing`), or what a reader of the result should know."""
    for plugin in config.pluginmanager.get_plugins():
        if (tell := getattr(plugin, hook, None)) is not None:
            tell(text)
    if hook == "remark":
        _say(config, text)


def _say(config: pytest.Config, text: str) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.ensure_newline()
        terminal.write_line(f"lab: {text}")
