"""Problems of the daemon's background work, in a file of the run directory, for `sriovctl doctor`.

A socket answers as long as the event loop runs, which proves nothing about the background work. The file exists while
there is a problem. One that a killed daemon has left does not count: doctor reads it only if a daemon answers, and
every daemon removes it at its start. The daemon never reads it.
"""

import pathlib
from collections.abc import Sequence

import msgspec

from sriov import errors
from sriov.state import run_files

_LINES = msgspec.json.Decoder(tuple[str, ...])


class Trouble:
    """The file `trouble.json` of the run directory: a list of lines. One process writes."""

    def __init__(self, run_dir: pathlib.Path) -> None:
        self._path = run_dir / "trouble.json"
        self._told: tuple[str, ...] | None = None

    def tell(self, problems: Sequence[str]) -> None:
        """Write the list of all present problems. Raises LedgerError."""
        if tuple(problems) == self._told:
            return
        if problems:
            run_files.write(self._path, msgspec.json.encode(list(problems)))
        else:
            with run_files.refusals(self._path):
                self._path.unlink(missing_ok=True)
        self._told = tuple(problems)

    def read(self) -> tuple[str, ...]:
        """Return the problems written last; none if they cannot be read."""
        try:
            data = run_files.read(self._path)
            return _LINES.decode(data) if data else ()
        except (errors.LedgerError, msgspec.MsgspecError, UnicodeDecodeError):
            return ()
