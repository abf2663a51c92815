"""Tests of this folder run Debian's own network managers in the guest. They are fetched before it boots."""

import pathlib
from collections.abc import Iterator

import pytest

from tests.lab import stores
from tests.lab.managers import debs, hosts


def pytest_collection_finish(session: pytest.Session) -> None:
    if stores.wanted(session, pathlib.Path(__file__).parent):
        debs.STORE.provide()


@pytest.fixture(scope="package")
def host() -> Iterator[hosts.Host]:
    with hosts.opened(debs.STORE.needs()) as host:
        yield host
