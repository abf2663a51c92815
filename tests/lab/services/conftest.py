"""Tests of this folder attach the programs for Services. Those are compiled before the guest boots."""

import os
import pathlib
from collections.abc import Iterator

import pytest

from tests import artefacts
from tests.lab import stores
from tests.lab.services import clusters

_NOTE = artefacts.BUILD / "no-programs"


def pytest_collection_finish(session: pytest.Session) -> None:
    if not stores.wanted(session, pathlib.Path(__file__).parent):
        return
    _NOTE.unlink(missing_ok=True)
    try:
        artefacts.output("hack/build-bpf")
    except artefacts.BuildError as error:
        artefacts.BUILD.mkdir(parents=True, exist_ok=True)
        _NOTE.write_text(str(error))


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clusters.Cluster]:
    if _NOTE.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(_NOTE.read_text(), pytrace=False)
        pytest.skip(_NOTE.read_text().splitlines()[-1])
    with clusters.opened(tmp_path_factory.mktemp("cluster")) as made:
        yield made
