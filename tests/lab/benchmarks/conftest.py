"""Tests of this folder compare with plugins that the machine fetches before the guest boots, which has no network."""

import os
import pathlib
import sys

import pytest

from hack.benchmark import peers
from hack.guest import errors
from tests.lab import stores

_NOTE = pathlib.Path(sys.prefix) / "lab-peers"


def pytest_collection_finish(session: pytest.Session) -> None:
    if not stores.wanted(session, pathlib.Path(__file__).parent):
        return
    _NOTE.unlink(missing_ok=True)
    try:
        peers.provide()
    except errors.LabError as error:
        _NOTE.write_text(str(error))


@pytest.fixture
def compared() -> None:
    if not _NOTE.exists():
        return
    if os.environ.get("CI") == "true":
        pytest.fail(_NOTE.read_text(), pytrace=False)
    pytest.skip(_NOTE.read_text())
