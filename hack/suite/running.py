"""Processes of the lanes: started beside each other, followed by their events, stopped if one hangs."""

import contextlib
import json
import math
import os
import pathlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence

from hack.suite import display, lanes, progress
from tests import tiers

POLL = 0.25  # seconds
# Seconds without an event: a test has a limit of its own, and the guest's silence too, so this is a session that hangs.
# With --long there is no limit: one test goes on for an hour.
SILENCE = math.inf if tiers.LONG else 1800.0
GRACE = 30.0  # seconds for a session that is told to stop
MEMORY = pathlib.Path("/dev/shm")  # noqa: S108
ROOM = 4 << 30  # bytes: sessions need less than one, a release that is built in one of them included


def scratch(memory: pathlib.Path = MEMORY) -> str:
    """Return where the tests' folders are: in memory, if there is room and programs may be run there, else on the disk.

    Simulated nodes are hundreds of thousands of small files, which a disk takes half of the time for.
    """
    try:
        found = os.statvfs(memory)
    except OSError:
        return "/tmp"  # noqa: S108
    fits = found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC
    return str(memory) if fits and os.access(memory, os.W_OK) else "/tmp"  # noqa: S108


class Running:
    """A lane's session, in a process group of its own, which waits until `first` has ended."""

    def __init__(self, lane: lanes.Lane, python: str, folder: pathlib.Path, first: "Running | None" = None) -> None:
        self.progress = progress.Progress(lane.name, at=time.time())
        self.began = time.time()
        self.ended: float | None = None
        self._first = first
        self.patience = SILENCE
        self.log = folder / f"{lane.name.replace(' ', '-')}.log"
        events = folder / f"{lane.name.replace(' ', '-')}.events"
        events.touch()
        self._events = events.open()
        self._rest = ""
        place = scratch() if lane.in_memory else "/tmp"  # noqa: S108
        self._temporary = tempfile.TemporaryDirectory(prefix="t", dir=place, ignore_cleanup_errors=True)
        command = lanes.command(python, lane, str(events), f"{self._temporary.name}/b")
        if first is not None:
            self.progress.doing = f"waiting for {first.progress.name!r}"
            command = ["sh", "-c", 'tail --pid="$0" -f /dev/null; exec "$@"', str(first.process.pid), *command]
        with self.log.open("wb") as out:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def status(self) -> int | None:
        return self.process.poll()

    def follow(self) -> Iterator[str]:
        """Take the events that are new; yields tests that have just failed."""
        while (line := self._events.readline()) != "":
            self._rest += line
            if self._rest.endswith("\n"):
                event, self._rest = json.loads(self._rest), ""
                if (failed := self.progress.take(event)) is not None:
                    yield failed
        if self.status is not None and self.ended is None:
            self.ended = time.time()

    def is_silent(self) -> bool:
        if self._first is not None and self._first.status is None:
            self.began = self.progress.at = time.time()
        return self.status is None and time.time() - self.progress.at > self.patience

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def close(self) -> None:
        """End the session and everything it has started, at the latest after a grace period."""
        if self.status is None:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
        self.signal(signal.SIGKILL)
        self.process.wait()
        self._events.close()
        self._temporary.cleanup()


@contextlib.contextmanager
def started(planned: Sequence[lanes.Lane], python: str, folder: pathlib.Path) -> Iterator[list[Running]]:
    """Start all lanes."""
    with contextlib.ExitStack() as stack:
        running: dict[str, Running] = {}
        for lane in planned:
            running[lane.name] = Running(lane, python, folder, running.get(lane.after))
            stack.callback(running[lane.name].close)
        yield [*running.values()]


def follow(running: Sequence[Running], shown: display.Display) -> None:
    """Show the lanes until all have ended. A session that hangs prints its stacks into its log, and ends."""
    while True:
        over = all(each.status is not None for each in running)
        for each in running:
            for failed in each.follow():
                shown.say(f"FAILED {failed}")
            if each.is_silent():
                shown.say(f"{each.progress.name}: silent for {each.patience:.0f} s, so it prints its stacks and ends")
                each.signal(signal.SIGABRT)
                each.process.wait()
        shown.show([each.progress for each in running])
        if over:
            return
        time.sleep(POLL)
