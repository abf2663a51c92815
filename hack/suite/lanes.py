"""Lanes: the pytest sessions that `hack/test` runs beside each other. Pure.

Most tests of a guest keep one core busy and wait now and then, so the tests that need none run beside them. Two guests
with a part of the tests each end sooner than one. But beside two guests, tests that need none would miss their times.
"""

import dataclasses
import pathlib

SESSION = pathlib.Path(__file__).with_name("session.py")

# What runs whole programs in the guest, by folder; the other lane has the rest, and so every folder that is new.
PROGRAMS = ("image", "installing", "managers", "runtimes", "scraping", "benchmarks")
WITHOUT = "without a guest"
OWN_GUESTS = "tests/hack"  # its tests of the lab itself, each of which boots a guest
BESIDE_GUESTS, ALONE = 2, 3  # processes: much of a test is waiting


@dataclasses.dataclass(frozen=True, slots=True)
class Lane:
    """One pytest session: its name for people, its arguments, and the lane that it begins after, if any."""

    name: str
    arguments: tuple[str, ...]
    after: str = ""


def planned(*, fast: bool) -> tuple[Lane, ...]:
    """Return the lanes of a whole run, or of one that leaves out what needs a guest, and benchmarks."""
    if fast:
        return (_without_guest("not lab and not bench", ALONE),)
    folders = tuple(f"tests/lab/{name}" for name in PROGRAMS)
    others = tuple(f"--ignore={folder}" for folder in folders)
    return (
        _without_guest("not lab", BESIDE_GUESTS),
        Lane("guest 1", ("tests/lab", *others)),
        Lane("guest 2", (*folders, OWN_GUESTS, "-m", "lab"), after=WITHOUT),
    )


def _without_guest(marks: str, processes: int) -> Lane:
    spread = (f"--numprocesses={processes}", "--dist=worksteal")
    return Lane(WITHOUT, ("-m", marks, *spread))


def command(python: str, lane: Lane, events: str, basetemp: str) -> list[str]:
    """Return the lane's command. Keep `basetemp` short: a socket's path, below it, has 107 bytes."""
    return [python, "-P", str(SESSION), events, "--basetemp", basetemp, *lane.arguments]
