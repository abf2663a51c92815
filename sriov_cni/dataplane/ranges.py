"""Ranges of an array that are in use, and the holes between them. Pure."""

import bisect
from collections.abc import Iterable


class Ranges:
    """Holes of an array of `size` entries, as first index and length, in order, no two beside each other."""

    def __init__(self, size: int, used: Iterable[tuple[int, int]] = ()) -> None:
        self._holes: list[tuple[int, int]] = []
        at = 0
        for first, length in sorted(used):
            self._add_hole(at, first - at)
            at = max(at, first + length)
        self._add_hole(at, size - at)

    @property
    def free(self) -> int:
        """How many entries are in no range."""
        return sum(length for _, length in self._holes)

    def take(self, length: int) -> int | None:
        """Return the first index of a new range; None if no hole is large enough. An empty range is anywhere."""
        if length == 0:
            return 0
        for place, (first, room) in enumerate(self._holes):
            if room >= length:
                self._holes[place : place + 1] = [(first + length, room - length)] if room > length else []
                return first
        return None

    def give(self, first: int, length: int) -> None:
        """Let a range go."""
        if length == 0:
            return
        place = bisect.bisect(self._holes, (first, 0))
        if place < len(self._holes) and self._holes[place][0] == first + length:
            length += self._holes.pop(place)[1]
        if place and sum(self._holes[place - 1]) == first:
            place -= 1
            first, length = self._holes[place][0], length + self._holes.pop(place)[1]
        self._holes.insert(place, (first, length))

    def _add_hole(self, first: int, length: int) -> None:
        if length > 0:
            self._holes.append((first, length))
