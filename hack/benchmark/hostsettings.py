"""Effect of a host setting on a move of a link between namespaces: the bare request, without our code.

`rcutree.jiffies_till_first_fqs`, in ticks, is how long RCU waits before it looks for idle processors; a move waits for
RCU under the kernel's lock. The values take turns, and the host gets its own back at the end, also after a failure.
Source: Documentation/admin-guide/kernel-parameters.txt.
"""

import contextlib
import pathlib
import statistics
import time
from collections.abc import Iterator, Sequence

from hack.benchmark import figures
from hack.benchmark.attach import floor
from hack.benchmark.stages import stage, veths
from hack.guest import errors

FIRST_FQS = pathlib.Path("/sys/module/rcutree/parameters/jiffies_till_first_fqs")
TICKS = (0, 1, 3)  # 1 up to 250 Hz, 3 from 1000 Hz on (kernel/rcu/tree.h, RCU_JIFFIES_TILL_FORCE_QS)
_SETTLE = 0.06  # seconds


def measure(rounds: int, setting: pathlib.Path = FIRST_FQS) -> list[figures.Figure]:
    """Measure, a third of a second for each round. Raises LabError if the setting is missing or cannot be changed."""
    with _put_back(setting) as own, veths.opened(1) as where, contextlib.closing(floor.Floor(where)) as bare:
        taken: dict[int, list[float]] = {ticks: [] for ticks in TICKS}
        for turn in range(rounds):
            for ticks in TICKS if turn % 2 else TICKS[::-1]:
                setting.write_text(str(ticks))
                taken[ticks] += _moves(bare, where.links[0])
    medians = {ticks: statistics.median(each) for ticks, each in taken.items()}
    return [
        *(figures.Figure(f"move_fqs_{ticks}_over_1", medians[ticks] / medians[1]) for ticks in TICKS if ticks != 1),
        *(figures.Figure(f"move_ms_p50_fqs_{ticks}", value) for ticks, value in medians.items()),
        figures.Figure("fqs_of_this_host", own),
    ]


@contextlib.contextmanager
def _put_back(setting: pathlib.Path) -> Iterator[int]:
    """Yield the host's value, and restore it afterwards."""
    try:
        own = setting.read_text()
        setting.write_text(own)
    except OSError as error:
        raise errors.LabError(
            f"cannot change {setting} ({error.strerror}): run as root, on a kernel that has it"
        ) from None
    try:
        yield int(own)
    finally:
        setting.write_text(own)


def _moves(bare: floor.Floor, link: stage.Link) -> Sequence[float]:
    """Return milliseconds of moves into the pod and back."""
    took = []
    for move in (bare.move, bare.delete):
        time.sleep(_SETTLE)
        began = time.perf_counter()
        move(link)
        took.append((time.perf_counter() - began) * 1000)
    return took
