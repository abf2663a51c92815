"""Measurements of all ways in turns, in another order each round, and the work that each cost on both ends.

An end has a processor of its own, for its tools, its kernel and the interrupts of its card, so that the work of the
processor is the work of the end. Which way a measurement went is no matter of belief: the uplinks count.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from hack.benchmark.traffic import ways
from hack.guest import errors, progress
from sriov.hardware import sysfs
from sriov.linux import netns
from sriovctl.traffic import comparing, ends, tools
from tests.kernel import namespaces

ROUNDS, SECONDS = 11, 2
_PACED = 1000  # packets a second: a third of what an emulated receiver bears
_PATIENCE = 60  # seconds that a measurement may take beyond its own


def measure(tree: sysfs.Tree, rounds: int = ROUNDS, seconds: int = SECONDS) -> comparing.Taken:
    """Measure so many rounds, a minute for each by default. Raises LabError if something is missing or fails."""
    if missing := [tool for tool in tools.SERVERS if shutil.which(tool) is None]:
        raise errors.LabError(
            f"not installed here: {', '.join(missing)}; on the machine: hack/packages {' '.join(missing)}"
        )
    shown, load = progress.Progress(sys.stderr, name="bench"), tools.Load(seconds, _PACED)
    taken: dict[str, dict[str, list[float]]] = {key: {} for key in ways.NAMES}
    with ways.opened(tree) as opened, contextlib.ExitStack() as stack:
        for way in opened:
            stack.enter_context(_serving(way))
        for number, (way, each) in enumerate(turns := list(_turns(opened, rounds))):
            shown.show("measuring traffic", number / len(turns))
            for key, value in _values(way, each, load).items():
                taken[way.key].setdefault(key, []).append(value)
    shown.clear()
    return taken


def _turns(opened: list[ways.Way], rounds: int) -> Iterator[tuple[ways.Way, tools.Measurement]]:
    for turn in range(rounds):
        first = turn % len(opened)
        for each in tools.EVERY:
            for way in [*opened[first:], *opened[:first]]:
                yield way, each


def _values(way: ways.Way, measurement: tools.Measurement, load: tools.Load) -> Mapping[str, float]:
    before = _ends(way)
    printed = _run(way, measurement.command(way.address, load), load.seconds + _PATIENCE)
    after = _ends(way)
    try:
        reading = measurement.read(printed)
        return {**reading.values, **ends.checked_shares(before, after, reading)}
    except ValueError as error:
        raise errors.LabError(f"{ways.NAMES[way.key]}, {measurement.about}: {error}") from error


def _ends(way: ways.Way) -> ends.BothEnds:
    """Look at what the sender's uplink has sent, what the receiver's has received, and at their processors."""
    (_, sent), (received, _) = (uplink.counted() for uplink in way.uplinks)
    spent = "".join(pathlib.Path("/proc", each).read_text() for each in ("stat", "uptime"))
    return ends.parsed(f"{sent}\n{spent}", 0), ends.parsed(f"{received}\n{spent}", 1)


def _run(way: ways.Way, command: tuple[str, ...], patience: float) -> str:
    """Return what the tool printed; of one that failed, what it complained of."""
    try:
        with _at(way, 0):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience)
    except subprocess.TimeoutExpired as error:
        raise errors.LabError(f"{ways.NAMES[way.key]}: {command[0]} has not ended in {patience:.0f} s") from error
    return done.stdout + (done.stderr if done.returncode else "")


@contextlib.contextmanager
def _at(way: ways.Way, end: int) -> Iterator[None]:
    """Run this thread, and what it starts, in the end's pod and on the end's processor."""
    before = os.sched_getaffinity(0)
    with netns.entered(way.pods[end]):
        os.sched_setaffinity(0, {end})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _serving(way: ways.Way) -> Iterator[None]:
    """Run the servers at the receiving end. Raises LabError if they do not listen."""
    with contextlib.ExitStack() as stack:
        with _at(way, 1):
            started = [stack.enter_context(_process(command)) for command in tools.SERVERS.values()]
        if not namespaces.until(lambda: _listening(started[0].pid) >= tools.LISTENS, 60):
            raise errors.LabError(f"{ways.NAMES[way.key]}: not all of {', '.join(tools.SERVERS)} listen")
        yield


@contextlib.contextmanager
def _process(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def _listening(pid: int) -> set[tuple[str, int]]:
    """Return protocols and ports at which anybody listens in the process's namespace."""
    files = [pathlib.Path(f"/proc/{pid}/net/{each}") for each in ("tcp", "tcp6", "udp", "udp6")]
    return tools.listening("".join(each.read_text() for each in files if each.exists()))
