"""A node in memory that sriovctl looks at, below a path that is short enough for sockets."""

import pathlib
from collections.abc import Iterator

import pytest

from tests import conftest
from tests.sriovctl import nodes


@pytest.fixture
def node() -> Iterator[nodes.Node]:
    with conftest.in_memory("ctl-") as folder:
        made = nodes.Node(pathlib.Path(folder))
        yield made
        made.close()
