"""One measured figure, with its target and what the incumbent does, and how they are shown."""

import dataclasses
from collections.abc import Iterator, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """`key` is for programs, which alone hear of a `quiet` one.

    `target` is the most it may be, None where it is only told; `note` is for comparison.
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
    """The value below which that share of the values lies, or the nearest of them."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
