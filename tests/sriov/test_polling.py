"""Looking until it is enough or patience ends, by the real clock."""

import itertools
import time

from sriov import polling


def test_what_is_there_at_once_is_waited_for_not_at_all() -> None:
    began = time.monotonic()
    assert polling.until(lambda: "there", bool, 10) == "there"
    assert time.monotonic() - began < 5


def test_what_comes_later_is_returned_as_it_was_seen() -> None:
    looks = itertools.count()
    assert polling.until(lambda: next(looks), lambda seen: seen >= 3, 60) == 3
    assert next(looks) == 4, "a look after the last one"


def test_patience_ends_with_what_was_seen_last() -> None:
    looks = itertools.count()
    assert polling.until(lambda: next(looks), lambda _seen: False, 0.1) == next(looks) - 1


def test_one_look_is_taken_without_patience() -> None:
    assert polling.until(lambda: 5, lambda seen: seen == 6, 0) == 5
