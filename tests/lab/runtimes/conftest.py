"""Tests of this folder run real container runtimes in the guest. What they need is fetched before it boots."""

import pathlib
from collections.abc import Iterator

import pytest

from tests.lab import stores
from tests.lab.runtimes import benches, containerd, debs, podman


def pytest_collection_finish(session: pytest.Session) -> None:
    if stores.wanted(session, pathlib.Path(__file__).parent):
        debs.STORE.provide()


@pytest.fixture(scope="package")
def bench() -> Iterator[benches.Bench]:
    debs.install()
    with benches.opened(pathlib.Path("/run/runtimes")) as bench:
        yield bench


@pytest.fixture(scope="module")
def engine(bench: benches.Bench) -> podman.Podman:
    return podman.Podman(bench)


@pytest.fixture(scope="module")
def client(bench: benches.Bench) -> Iterator[containerd.Containerd]:
    with containerd.running(bench) as client:
        yield client
