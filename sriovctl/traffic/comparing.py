"""Ways from pod to pod side by side: the median of each figure, and of its ratio to the first way's. Pure.

Each ratio is of one round, in which the ways follow one another: what else the machines do comes and goes, and weighs
on all ways of a round alike.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence

import msgspec

NAMES = {
    "tcp_mbit": "TCP, Mbit/s",
    "udp_mbit": "UDP that arrives of a flood, Mbit/s",
    "packets": "64-byte packets that arrive of a flood, 1/s",
    "rtt_us_p50": "round trip p50, µs",
    "rtt_us_p99": "round trip p99, µs",
    "connections": "TCP connections one by one, 1/s",
    "sender_us_packet": "CPU of the sender, µs a packet",
    "receiver_us_packet": "CPU of the receiver, µs a packet",
    "lost_percent": "of these packets lost, %",
    "sender_ms_mb": "CPU of the sender, ms a MB of TCP",
    "receiver_ms_mb": "CPU of the receiver, ms a MB of TCP",
}
"""What each figure is called in a table, in its order."""
MORE_IS_BETTER = frozenset({"tcp_mbit", "udp_mbit", "packets", "connections"})

Taken = Mapping[str, Mapping[str, Sequence[float]]]
"""By way and figure: one value for each round."""


class Line(msgspec.Struct, frozen=True):
    """A figure's medians, and the medians of the rounds' ratios to the first way, in the order of the ways."""

    key: str
    values: tuple[float, ...]
    ratios: tuple[float, ...]


def lines(taken: Taken) -> Iterator[Line]:
    """Yield a line for each figure that every way has."""
    for key in NAMES:
        if all(each.get(key) for each in taken.values()):
            every = [each[key] for each in taken.values()]
            values = tuple(statistics.median(each) for each in every)
            yield Line(key, values, tuple(_ratio(each, every[0]) for each in every))


def _ratio(those: Sequence[float], first: Sequence[float]) -> float:
    ratios = [one / other for one, other in zip(those, first, strict=True) if other]
    return statistics.median(ratios) if ratios else 0


def number(value: float) -> str:
    """Write a figure with three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cells(line: Line) -> list[str]:
    """Return the figure of each way; behind the first, also the ratio to it."""
    first, *others = (number(each) for each in line.values)
    return [first, *(f"{text} ({ratio:.2f})" for text, ratio in zip(others, line.ratios[1:], strict=True))]
