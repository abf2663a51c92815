"""Report of `hack/bench traffic`: a table of the ways side by side, and the medians for programs."""

from collections.abc import Iterator

from hack.benchmark import figures
from hack.benchmark.traffic import ways
from sriovctl.traffic import comparing

_TARGETS = {"vxlan": 1.0}
_WORK = ("sender_us_packet", "receiver_us_packet", "sender_ms_mb", "receiver_ms_mb")


def table(taken: comparing.Taken) -> Iterator[str]:
    """Yield a line for each figure: the ways' medians, and their ratios to the first way's."""
    rows = [["medians (and of the ratios to the VF)", *(ways.NAMES[way] for way in taken)]]
    rows += [[comparing.NAMES[line.key], *comparing.cells(line)] for line in comparing.lines(taken)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (f"{each:>{width}}" for each, width in zip(others, widths[1:], strict=True))
        yield "  ".join([f"{first:<{widths[0]}}", *cells])


def medians(taken: comparing.Taken) -> list[figures.Figure]:
    """Return the medians quietly, and what a VF's work is of that of the others: less than with VXLAN.

    Routing has no target: TCP passes a node in packets of 64 KB, so that it costs next to nothing.
    """
    found, told = [], []
    for line in comparing.lines(taken):
        for way, value, ratio in zip(taken, line.values, line.ratios, strict=True):
            found.append(figures.Figure(f"{way}_{line.key}", value, quiet=True))
            if line.key in _WORK and way != "vf":
                note = f"a VF's of that of {ways.NAMES[way]}"
                told.append(figures.Figure(f"{line.key}_vf_over_{way}", 1 / ratio, _TARGETS.get(way), note))
    return [*found, *told]
