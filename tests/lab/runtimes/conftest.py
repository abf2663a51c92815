"""Tests of this folder run real container runtimes in the guest. What they need is fetched before it boots."""

import os
import pathlib
from collections.abc import Iterator

import pytest

from tests.lab.runtimes import benches, containerd, debs, podman


def pytest_collection_finish(session: pytest.Session) -> None:
    ours = [item for item in session.items if pathlib.Path(__file__).parent in item.path.parents]
    if ours and debs.wanted() and not session.config.option.collectonly:
        debs.provide()


@pytest.fixture(scope="session")
def bench() -> Iterator[benches.Bench]:
    if reason := debs.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and CI=true says that this test must run", pytrace=False)
        pytest.skip(reason)
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
