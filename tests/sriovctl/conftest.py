"""A node in memory that sriovctl looks at, below a path that is short enough for sockets."""

import pathlib
import tempfile
from collections.abc import Iterator

import pytest

from tests.sriovctl import nodes


@pytest.fixture
def node() -> Iterator[nodes.Node]:
    with tempfile.TemporaryDirectory(prefix="ctl-") as folder:
        made = nodes.Node(pathlib.Path(folder))
        yield made
        made.close()
