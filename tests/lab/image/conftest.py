"""Tests of this folder run what is released, under containerd in the guest. It is built before the guest boots."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import pytest

from tests import artefacts
from tests.lab import stores
from tests.lab.image import nodes
from tests.lab.runtimes import debs

_NOTE = artefacts.BUILD / "missing"


def pytest_collection_finish(session: pytest.Session) -> None:
    if not stores.wanted(session, pathlib.Path(__file__).parent):
        return
    debs.STORE.provide()
    _NOTE.unlink(missing_ok=True)
    try:
        artefacts.rootfs()
    except artefacts.BuildError as error:
        _NOTE.write_text(str(error))


@pytest.fixture(scope="package")
def rootfs() -> pathlib.Path:
    if _NOTE.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(_NOTE.read_text(), pytrace=False)
        pytest.skip(_NOTE.read_text().splitlines()[-1])
    return artefacts.ROOTFS


@pytest.fixture(scope="package")
def runtime(rootfs: pathlib.Path) -> Iterator[nodes.Runtime]:
    """With the shim in place."""
    debs.install()
    with nodes.prepared(pathlib.Path("/run/image"), rootfs) as runtime:
        with contextlib.closing(nodes.Node(runtime)) as node, node.running("install-shim") as installing:
            assert installing.wait(60) == 0, node.said("install-shim")
        yield runtime


@pytest.fixture
def node(runtime: nodes.Runtime) -> Iterator[nodes.Node]:
    with contextlib.closing(nodes.Node(runtime)) as node:
        yield node
