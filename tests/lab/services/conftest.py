"""Tests of this folder attach the programs for Services. Those are compiled before the guest boots."""

import functools
import pathlib
from collections.abc import Iterator

import pytest

from tests import artefacts
from tests.lab import prebuilt
from tests.lab.services import clusters

PROGRAMS = prebuilt.Prebuilt("no-programs-for-services", functools.partial(artefacts.output, "hack/build-bpf"))


def pytest_collection_finish(session: pytest.Session) -> None:
    PROGRAMS.provide(session, pathlib.Path(__file__).parent)


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clusters.Cluster]:
    PROGRAMS.needed()
    with clusters.opened(tmp_path_factory.mktemp("cluster")) as made:
        yield made
