"""Ends of a measurement, before it and after it: bytes that a link has counted, and processor time. Pure.

Work is the time that was not idle, of /proc/stat and /proc/uptime (proc(5)). What the kernel counts as a process's, the
system's or an interrupt's is sampled some hundred times a second, which misses packets that come as regularly.
"""

from collections.abc import Mapping

import msgspec

from sriovctl.traffic import tools

_TICKS = 100  # a second: USER_HZ, the same on every architecture that Linux has today but alpha
_IDLE, _WAITING = 4, 5  # columns: idle, and idle while a disk works


class MeasuredEnd(msgspec.Struct, frozen=True):
    """Bytes that the link by which an end sends or receives has counted, and seconds that processors have worked.

    Both count from an arbitrary beginning.
    """

    counted: int
    worked: float


BothEnds = tuple[MeasuredEnd, MeasuredEnd]
"""The sender's and the receiver's."""


class ShortcutError(ValueError):
    """Data did not come by the links that were to be measured."""


def parsed(printed: str, processor: int | None = None) -> MeasuredEnd:
    """Parse a counter with /proc/stat and /proc/uptime behind it. Raises ValueError.

    The work is that of all processors, or of that one.
    """
    lines = [line.split() for line in printed.splitlines() if line.strip()]
    each = {words[0]: words for words in lines if words[0].startswith("cpu")}
    name = "cpu" if processor is None else f"cpu{processor}"
    if name not in each or len(lines[0]) != 1 or len(lines[-1]) != 2:
        raise ValueError(f"no counter, /proc/stat with {name}, and /proc/uptime")
    count = len(each) - 1 if processor is None else 1
    idle = sum(int(each[name][column]) for column in (_IDLE, _WAITING)) / _TICKS
    return MeasuredEnd(int(lines[0][0]), float(lines[-1][0]) * count - idle)


def every(printed: str, count: int) -> list[MeasuredEnd]:
    """Parse that many counters with /proc/stat and /proc/uptime behind them. Raises ValueError."""
    lines = printed.splitlines()
    return [parsed("\n".join([counter, *lines[count:]])) for counter in lines[:count]]


def checked_shares(before: BothEnds, after: BothEnds, reading: tools.Reading) -> Mapping[str, float]:
    """Return what the sender's work and the receiver's was for each packet, or for each megabyte.

    Raises ShortcutError unless both links have counted at least the data that came over.
    """
    counted = min(later.counted - earlier.counted for earlier, later in zip(before, after, strict=True))
    if counted < reading.data:
        raise ShortcutError(f"{reading.data:.0f} bytes came over, {counted} by the links: there is a shorter way")
    seconds = [later.worked - earlier.worked for earlier, later in zip(before, after, strict=True)]
    worked = dict(zip(("sender", "receiver"), seconds, strict=True))
    if reading.packets:
        return {f"{end}_us_packet": each / reading.packets * 1e6 for end, each in worked.items()}
    if "tcp_mbit" in reading.values:
        return {f"{end}_ms_mb": each / reading.data * 1e9 for end, each in worked.items()}
    return {}
