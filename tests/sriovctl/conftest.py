"""A node in memory that sriovctl looks at."""

import pathlib
from collections.abc import Iterator

import pytest

from tests.sriovctl import nodes


@pytest.fixture
def node(tmp_path: pathlib.Path) -> Iterator[nodes.Node]:
    made = nodes.Node(tmp_path)
    yield made
    made.close()
