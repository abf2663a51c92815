"""Pods with root against the daemon, with real VFs: tests/adversary/machine.py in the guest."""

import contextlib
import pathlib

import hypothesis

from tests.adversary import machine
from tests.fuzz import profiles
from tests.lab import igb_stage

ROUNDS = 50


def test_pods_with_root_leave_nothing_on_a_real_vf(folder: pathlib.Path) -> None:
    few = hypothesis.settings(
        profiles.examples(ROUNDS, 10 * ROUNDS), stateful_step_count=4
    )  # each takes a second there
    with contextlib.closing(igb_stage.IgbStage(folder)) as stage, machine.opened(stage) as world:
        machine.run(world, few)
