"""Pods with root against the daemon, on this machine's kernel with veths for VFs: tests/adversary/machine.py."""

import contextlib
import pathlib

import hypothesis
import pytest

from tests.adversary import arena, machine
from tests.fuzz import profiles

pytestmark = pytest.mark.root

SCHEDULES, THOROUGHLY = 500, 20_000
PARTS = 4  # which may run beside each other
STEPS = 14


@pytest.mark.parametrize("part", range(PARTS))
def test_pods_with_root_leave_nothing_and_take_nothing(folder: pathlib.Path, part: int) -> None:
    with contextlib.closing(arena.Arena(folder)) as stage, machine.opened(stage) as world:
        wanted = profiles.examples(SCHEDULES // PARTS, THOROUGHLY // PARTS)
        machine.run(world, hypothesis.settings(wanted, stateful_step_count=STEPS), seed=part)
