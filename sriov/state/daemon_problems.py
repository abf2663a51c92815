"""What is wrong with the daemon's own work, in a file of the run directory, for `sriovctl doctor`.

A socket answers as long as the loop turns, which says nothing of what is done beside it. The file is there while there
is something to say; one that a killed daemon has left counts for nothing, since doctor asks for it only where a daemon
answers, and each begins by removing it. Never read by the daemon.
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
        """This is all that is wrong now. Raises LedgerError."""
        if tuple(problems) == self._told:
            return
        if problems:
            run_files.write(self._path, msgspec.json.encode(list(problems)))
        else:
            with run_files.refusals(self._path):
                self._path.unlink(missing_ok=True)
        self._told = tuple(problems)

    def read(self) -> tuple[str, ...]:
        """What was told last; nothing where it cannot be read."""
        try:
            data = run_files.read(self._path)
            return _LINES.decode(data) if data else ()
        except (errors.LedgerError, msgspec.MsgspecError, UnicodeDecodeError):
            return ()
