"""Tests of this folder compare with plugins that the machine fetches before the guest boots, which has no network.

The shim is compiled by then too.
"""

import os
import pathlib
import subprocess
import sys

import pytest

from hack.benchmark.attach import peers
from hack.guest import errors
from tests.lab import stores

PROJECT = pathlib.Path(__file__).parents[3]
_NOTE = pathlib.Path(sys.prefix) / "lab-peers"


def pytest_collection_finish(session: pytest.Session) -> None:
    if not stores.wanted(session, pathlib.Path(__file__).parent):
        return
    _NOTE.unlink(missing_ok=True)
    try:
        peers.provide()
        subprocess.run([PROJECT / "hack/build-shim"], check=True, capture_output=True)
    except (errors.LabError, subprocess.CalledProcessError) as error:
        _NOTE.write_text(str(error))


@pytest.fixture
def compared() -> None:
    if not _NOTE.exists():
        return
    if os.environ.get("CI") == "true":
        pytest.fail(_NOTE.read_text(), pytrace=False)
    pytest.skip(_NOTE.read_text())
