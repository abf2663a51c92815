"""Lanes: the pytest sessions that `hack/test` runs beside each other. Pure.

A test of a guest keeps one core busy and waits now and then, a test that needs none waits for half of its time. So the
tests that need none run beside two guests, and each of these makes room for another: three lanes until the end. Beside
four emulated CPUs, tests that need none have missed their times.

Two CPUs have the guest that is for tests of what is done at once, and the one whose nodes have more VFs than a single
CPU has interrupts for, with benchmarks whose ends have a CPU each. The others have one.
"""

import dataclasses
import pathlib

SESSION = pathlib.Path(__file__).with_name("session.py")

# What runs whole programs in the guest, or one after the other; the first guest has the rest, and so all that is new.
IN_A_CONTAINER = ("image", "runtimes", "scraping")
TWO_CPUS = ("installing", "managers", "claims", "benchmarks")
IN_ORDER = ("policies", "reboots", "services", "netdevsim", "test_provisioning.py", "test_sriovctl.py")
ONE_CPU = "--guest-cpus=1"
WITHOUT, FIRST, SECOND = "without a guest", "guest 1", "guest 2"
FAST = "not lab and not bench and not slow and not root"
OWN_GUESTS = "tests/hack"  # its tests of the lab itself, each of which boots a guest
BESIDE_GUESTS, ALONE = 2, 4  # processes: much of a test is waiting


@dataclasses.dataclass(frozen=True, slots=True)
class Lane:
    """One pytest session: its name for people, its arguments, the lane that it begins after, if any, and whether its
    folders are in memory: a guest has a /dev/shm of its own, and does not see this machine's."""

    name: str
    arguments: tuple[str, ...]
    after: str = ""
    in_memory: bool = False


def planned(*, fast: bool) -> tuple[Lane, ...]:
    """Return the lanes of a whole run, or of one that has only what anybody can run in a moment."""
    if fast:
        return (_without_guest(FAST, ALONE),)
    in_a_container, two_cpus, in_order = map(_paths, (IN_A_CONTAINER, TWO_CPUS, IN_ORDER))
    others = tuple(f"--ignore={path}" for path in (*in_a_container, *two_cpus, *in_order))
    return (
        _without_guest("not lab", BESIDE_GUESTS),
        Lane(FIRST, ("tests/lab", *others)),
        Lane(SECOND, (*in_a_container, OWN_GUESTS, "-m", "lab", ONE_CPU)),
        Lane("guest 3", two_cpus, after=FIRST),
        Lane("guest 4", (*in_order, ONE_CPU), after=SECOND),
    )


def _paths(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"tests/lab/{name}" for name in names)


def _without_guest(marks: str, processes: int) -> Lane:
    spread = (f"--numprocesses={processes}", "--dist=worksteal")
    return Lane(WITHOUT, ("-m", marks, *spread), in_memory=True)


def command(python: str, lane: Lane, events: str, basetemp: str) -> list[str]:
    """Return the lane's command. Keep `basetemp` short: a socket's path, below it, has 107 bytes."""
    return [python, "-P", str(SESSION), events, "--basetemp", basetemp, *lane.arguments]
