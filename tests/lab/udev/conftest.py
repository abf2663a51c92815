"""Tests of this folder run Debian's systemd-udevd in the guest. It is fetched before the guest boots."""

import pathlib
from collections.abc import Iterator

import pytest

from tests.lab import stores
from tests.lab.udev import udevd


def pytest_collection_finish(session: pytest.Session) -> None:
    if stores.wanted(session, pathlib.Path(__file__).parent):
        udevd.STORE.provide()


@pytest.fixture
def udev() -> Iterator[udevd.Udev]:
    with udevd.running(udevd.STORE.needs()) as udev:
        yield udev
