"""Pods with root against the daemon, on this machine's kernel with veths for VFs: tests/adversary/machine.py."""

import contextlib
import pathlib

import pytest

from tests.adversary import arena, machine
from tests.fuzz import profiles

pytestmark = pytest.mark.root

PARTS = 20  # which may run in parallel


@pytest.mark.parametrize("part", range(PARTS))
def test_pods_with_root_leave_nothing_and_take_nothing(folder: pathlib.Path, part: int) -> None:
    with contextlib.closing(arena.Arena(folder)) as stage, machine.opened(stage) as world:
        machine.run(world, profiles.examples(500 // PARTS, 20_000 // PARTS), seed=part)
