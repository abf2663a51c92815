"""Tests of this folder run Debian's Prometheus in the guest. It is fetched before the guest boots."""

import pathlib

import pytest

from tests.deploy import prometheus
from tests.lab import stores


def pytest_collection_finish(session: pytest.Session) -> None:
    if stores.wanted(session, pathlib.Path(__file__).parent):
        prometheus.STORE.provide()


@pytest.fixture
def server() -> pathlib.Path:
    """The Prometheus to run."""
    return prometheus.STORE.needs() / prometheus.SERVER
