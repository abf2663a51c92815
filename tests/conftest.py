"""For all tests: those that need root are skipped elsewhere, with the reason; with CI=true such a skip is a failure.

What a test forgets to close is an error of its own module, and not of whichever test the garbage collector runs in.
"""

import asyncio
import gc
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from tests import tiers

SHM = pathlib.Path("/dev/shm")
MUST_RUN = os.environ.get("CI") == "true"
SLOW = tuple(
    f"tests/{each}/" for each in ("adversary", "crash", "deploy", "examples", "fuzz", "hack", "sriovctl/cluster")
)
"""Folders of tests that try everything, or run whole programs, or build something."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(tiers.Tiers())
    if tiers.LONG:
        config.option.timeout = 0


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.nodeid.startswith(SLOW):
        item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Take what is imported by now out of all collections of garbage: it never ends, and is most of what there is.

    A quarter of a second for each module, otherwise.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_left_unclosed() -> Iterator[None]:
    yield
    asyncio.set_event_loop(None)  # the last one set is held until another is
    gc.collect()


def in_memory(prefix: str) -> tempfile.TemporaryDirectory[str]:
    """Make a folder for nodes of small files, on a path that is short enough for sockets."""
    return tempfile.TemporaryDirectory(prefix=prefix, dir=SHM if SHM.is_dir() else None)


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """In memory: for tests that make thousands of nodes of small files."""
    with in_memory("tmp") as made:
        yield pathlib.Path(made)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") is None or (reason := _missing()) is None:
        return
    if MUST_RUN:
        pytest.fail(f"{reason}, and CI=true says that this test must run", pytrace=False)
    pytest.skip(reason)


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if shutil.which("ip") is None:
        return "needs iproute2; hack/packages --all installs it"
    return None
