"""Figure that was measured, with its target and upstream's value, and its display."""

import dataclasses
from collections.abc import Iterator, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """`key` is for programs; only they get a `quiet` figure.

    `target` is its upper limit, None if there is none; `note` is for comparison.
    """

    key: str
    value: float
    target: float | None = None
    note: str = ""
    quiet: bool = False

    @property
    def missed(self) -> bool:
        return self.target is not None and self.value > self.target


def table(taken: Sequence[Figure]) -> Iterator[str]:
    told = [one for one in taken if not one.quiet]
    width = max(len(one.key) for one in told)
    for one in told:
        target = "" if one.target is None else f"target {one.target:g}  {'MISSED' if one.missed else 'met'}"
        yield f"{one.key:<{width}}  {one.value:>10.3f}  {target:<22}  {one.note}".rstrip()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values is, or the nearest of them."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
