"""Fixtures of tests of what is remembered of a VF."""

import pathlib

import pytest

from tests.fakes import sysfs_tree


@pytest.fixture
def hardware(tmp_path: pathlib.Path) -> sysfs_tree.SysfsTree:
    """A PF, 0000:01:00.0, with one VF."""
    made = sysfs_tree.SysfsTree(tmp_path / "sys")
    made.add_pf("0000:01:00.0", None, numvfs=1)
    return made
