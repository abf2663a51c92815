"""Ranges of an array: no two overlap, and what is given back can be taken again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_cni.dataplane import ranges

SIZE = 32


@given(st.lists(st.one_of(st.integers(0, 9), st.none())))
def test_no_two_ranges_overlap_and_nothing_is_lost(steps: list[int | None]) -> None:
    """A number takes a range of that length, None gives the oldest back."""
    known, held = ranges.Ranges(SIZE), list[tuple[int, int]]()
    for step in steps:
        if step is None:
            if held:
                known.give(*held.pop(0))
        elif (first := known.take(step)) is not None:
            held.append((first, step))
        used = [index for first, length in held for index in range(first, first + length)]
        assert len({*used}) == len(used) and all(0 <= index < SIZE for index in used)
        assert known.free == SIZE - len(used)
        assert ranges.Ranges(SIZE, held).free == known.free
    for each in held:
        known.give(*each)
    assert known.take(SIZE) == 0


@pytest.mark.parametrize(("length", "first"), [(4, 8), (3, 2), (5, None), (0, 0)])
def test_the_first_hole_that_is_large_enough(length: int, first: int | None) -> None:
    assert ranges.Ranges(12, [(0, 2), (5, 3)]).take(length) == first
