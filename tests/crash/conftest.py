"""A folder in memory: a node is hundreds of small files, and these tests make thousands of nodes."""

import pathlib
import tempfile
from collections.abc import Iterator

import pytest

SHM = pathlib.Path("/dev/shm")


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as made:
        yield pathlib.Path(made)
