"""Carrying a plan out. It may be interrupted at any instruction: the same command again finishes it.

All that needs room is written before anything is changed, so that a full disk changes nothing.
"""

import contextlib
from collections.abc import Iterable

from installer import files, plans
from sriov import errors


def apply(steps: Iterable[plans.Step]) -> None:
    """Raises SriovError."""
    steps = tuple(steps)
    _stage(steps)
    for step in steps:
        match step.deed:
            case plans.Deed.KEEP:
                files.keep(step.path)
            case plans.Deed.WRITE:
                files.commit(step.path)
            case plans.Deed.RESTORE:
                files.restore(step.path)
            case plans.Deed.REMOVE:
                files.remove(step.path)


def _stage(steps: tuple[plans.Step, ...]) -> None:
    written = [step.artefact for step in steps if step.artefact is not None]
    try:
        for each in written:
            files.stage(each.path, each.content, each.mode)
    except errors.SriovError:
        for each in written:
            with contextlib.suppress(OSError):
                files.draft(each.path).unlink(missing_ok=True)
        raise
