"""Packages of Debian's archive, unpacked into the lab's cache and never installed: what tests in the guest run.

Fetched by the machine, since the guest has no network; the guest sees the cache at the same place.
"""

import dataclasses
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from hack.guest import errors, progress
from hack.guest.downloads import apt, cache

_MISSING = "missing: "


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """`take` downloads packages, `keeps` says by a package's name whether it is unpacked; `what` they are is shown.

    Of `suites` the last goes first.
    """

    name: str
    what: str
    take: Callable[[apt.Apt, progress.Progress], list[pathlib.Path]]
    keeps: Callable[[str], bool]
    suites: Sequence[str] = apt.SUITES

    def provide(self) -> None:
        """On the machine: fetch what is not cached yet, and leave a note for the guest."""
        store = cache.default() / self.name
        try:
            store.parent.mkdir(parents=True, exist_ok=True)
            with (store.parent / f"{self.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not store.is_dir():
                    self._fill(store)
            self.note.write_text(str(store))
        except errors.LabError as error:
            self.note.write_text(f"{_MISSING}{error}")

    @property
    def note(self) -> pathlib.Path:
        """The guest sees neither the environment that moves the cache nor what the machine's pytest knows."""
        return pathlib.Path(sys.prefix) / f"lab-{self.name}"

    def needs(self) -> pathlib.Path:
        """In the guest: the folder with the packages' files. Skips the test where there is none."""
        note = self.note.read_text() if self.note.exists() else f"{_MISSING}nothing was fetched"
        if not note.startswith(_MISSING):
            return pathlib.Path(note)
        reason = note.removeprefix(_MISSING)
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and CI=true says that this test must run", pytrace=False)
        pytest.skip(reason)

    def _fill(self, store: pathlib.Path) -> None:
        shown = progress.Progress(sys.stderr)
        new = store.with_name(f"{self.name}.new")
        for folder in (new, debs := store.with_name(f"{self.name}.apt")):
            shutil.rmtree(folder, ignore_errors=True)
        new.mkdir()
        for deb in self._downloaded(debs, shown):
            if self.keeps(deb.name.partition("_")[0]):
                subprocess.run(["dpkg", "-x", deb, new], check=True)
        shutil.rmtree(debs)
        new.rename(store)
        shown.clear()

    def _downloaded(self, folder: pathlib.Path, shown: progress.Progress) -> list[pathlib.Path]:
        try:
            return apt.fetched(folder, lambda private: self.take(private, shown), shown, self.suites)
        except errors.UnavailableError as error:
            raise errors.UnavailableError(f"no {self.what} obtainable from this machine's mirror: {error}") from error


def wanted(session: pytest.Session, folder: pathlib.Path) -> bool:
    """Whether this process is the machine's, may have a guest, and runs tests of this folder.

    Compared as text: each folder here asks, and thousands of tests' parents take a tenth of a second each time.
    """
    ours = any(str(item.path).startswith(f"{folder}/") for item in session.items)
    return (
        ours and not session.config.option.collectonly and os.environ.get("SRIOV_LAB") != "guest" and not os.geteuid()
    )
