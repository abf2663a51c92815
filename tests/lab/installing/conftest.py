"""Tests of this folder install what is released on a node with systemd. It is built before the guest boots."""

import pathlib
from collections.abc import Iterator

import pytest

from tests import artefacts
from tests.lab import igb, plugging, prebuilt
from tests.lab.installing import nodes, systemd

PROGRAMS = prebuilt.Prebuilt("no-programs", artefacts.programs)


def pytest_collection_finish(session: pytest.Session) -> None:
    PROGRAMS.provide(session, pathlib.Path(__file__).parent)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """For a node, where there are the programs of the wheel and a systemd to run them."""
    if left := nodes.leftovers():
        names = ", ".join(map(str, left))
        pytest.fail(
            f"the guest has something of ours: {names}; what a test puts there it must take away", pytrace=False
        )
    if not systemd.PROGRAM.exists():
        prebuilt.miss(f"no {systemd.PROGRAM} on this machine")
    PROGRAMS.needed()
    return tmp_path


@pytest.fixture
def node(folder: pathlib.Path) -> Iterator[nodes.Node]:
    """With eight PFs of seven VFs each, and nothing of ours but the programs in a folder for each version."""
    with plugging.plugged(plugging.spare()), nodes.prepared(folder) as node:
        yield node


@pytest.fixture
def without_vfs(folder: pathlib.Path) -> Iterator[nodes.Node]:
    """The same with the two PFs that the guest always has, and no VF."""
    with igb.emptied(igb.PF0), igb.emptied(igb.PF1), nodes.prepared(folder) as node:
        yield node
