"""A fresh node in memory for each test."""

import pathlib
from collections.abc import Iterator

import pytest

from tests.sriov.provisioning import nodes


@pytest.fixture
def empty(tmp_path: pathlib.Path) -> Iterator[nodes.Node]:
    """Without VFs, as after a boot."""
    with nodes.made(tmp_path) as node:
        yield node


@pytest.fixture
def filled(tmp_path: pathlib.Path) -> Iterator[nodes.Node]:
    """With four VFs a PF."""
    with nodes.made(tmp_path, 4) as node:
        yield node
