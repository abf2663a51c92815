"""A guest that does not come up is booted once more, since nothing was done in it; one that came up never is."""

import io

import pytest

from hack.guest import boot, errors, progress

DONE = boot.Outcome(0, 12.0)


class Guests:
    """Boots that end as they are told, one after another."""

    def __init__(self, *ends: boot.Outcome | Exception) -> None:
        self._ends = list(ends)
        self.limits: list[float] = []

    def boot(self, limit: float) -> boot.Outcome:
        self.limits.append(limit)
        end = self._ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end


def test_the_second_boot_has_more_time_and_the_first_is_told_of() -> None:
    guests, said = Guests(errors.NotBootedError("the guest did not boot within 90 s\n    words"), DONE), io.StringIO()
    assert boot.insistently(guests.boot, progress.Progress(said)) == DONE
    assert guests.limits == list(boot.BOOT_LIMITS)
    assert said.getvalue() == "lab: the guest did not boot within 90 s; once more\n"


def test_two_that_do_not_boot_are_a_failure() -> None:
    guests = Guests(errors.NotBootedError("one"), errors.NotBootedError("two"))
    with pytest.raises(errors.NotBootedError, match="two"):
        boot.insistently(guests.boot, progress.Progress(io.StringIO()))


def test_a_guest_in_which_something_was_done_is_not_booted_again() -> None:
    guests = Guests(errors.LabError("the command was still running"))
    with pytest.raises(errors.LabError, match="still running"):
        boot.insistently(guests.boot, progress.Progress(io.StringIO()))
    assert len(guests.limits) == 1
