"""Tests of this folder boot guests of their own, so they run on this machine and not in the guest of the others."""

import pathlib

import pytest

from tests.lab import relay


def pytest_collection_finish(session: pytest.Session) -> None:
    for item in session.items:
        if pathlib.Path(__file__).parent in item.path.parents:
            item.stash[relay.HERE] = True
