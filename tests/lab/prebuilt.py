"""Artefacts that tests in the guest run, and that are built before it boots: it has no network."""

import contextlib
import os
import pathlib
from collections.abc import Callable

import pytest

from tests import artefacts
from tests.lab import stores


class Prebuilt:
    """What `build` makes. `name` is the note's in build/ that says why it could not."""

    def __init__(self, name: str, build: Callable[[], object]) -> None:
        self._note, self._build = artefacts.BUILD / name, build

    def provide(self, session: pytest.Session, folder: pathlib.Path) -> None:
        """On the machine: build, if tests of the folder are to run in the guest."""
        if not stores.wanted(session, folder):
            return
        self._note.unlink(missing_ok=True)
        try:
            self._build()
        except artefacts.BuildError as error:
            artefacts.BUILD.mkdir(parents=True, exist_ok=True)
            self._note.write_text(str(error))

    def is_built(self) -> bool:
        """In the guest."""
        return not self._note.exists()

    def needed(self) -> None:
        """In the guest: skip the test, or fail it in CI, if there is nothing."""
        with contextlib.suppress(FileNotFoundError):
            miss(self._note.read_text())


def miss(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI=true says that this test must run", pytrace=False)
    pytest.skip(reason.splitlines()[-1])
