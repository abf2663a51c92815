"""Notes on network policies in force, in a file of the run directory, for sriovctl, which may not enter a pod.

The daemon writes it each time that it has looked at what is in its pods, and never reads it. One that a killed daemon
has left tells of the past: it says when that was.
"""

import pathlib

import msgspec

from sriov import errors
from sriov.state import run_files


class PolicyNote(msgspec.Struct, frozen=True, kw_only=True):
    """An attachment that policies hold for. `netns` is device and inode of its namespace.

    `digest` is what was put in force and was there at the last look, "" for no rules, None if nothing was done yet.
    `problem` is why the last change is not in force, "" if it is. `repairs` is how often somebody else had changed the
    rules since the daemon's start, and `repaired` when that was found last, in seconds since 1970.
    """

    namespace: str
    pod: str
    interface: str
    netns: tuple[int, int]
    digest: str | None = None
    problem: str = ""
    repairs: int = 0
    repaired: float = 0.0


class PolicyNotes(msgspec.Struct, frozen=True, kw_only=True):
    """`looked` is when, in seconds since 1970. Since `silent_since` no agent has been connected; None while one is."""

    looked: float
    silent_since: float | None = None
    pods: tuple[PolicyNote, ...] = ()


_NOTES = msgspec.json.Decoder(PolicyNotes)


class NoteFile:
    """The file `policies.json` of the run directory. One process writes."""

    def __init__(self, run_dir: pathlib.Path) -> None:
        self._path = run_dir / "policies.json"

    def write(self, notes: PolicyNotes) -> None:
        """Raises LedgerError."""
        run_files.write(self._path, msgspec.json.encode(notes))

    def read(self) -> PolicyNotes | None:
        """Return the last notes; None if there are none that can be read."""
        try:
            data = run_files.read(self._path)
            return _NOTES.decode(data) if data else None
        except (errors.LedgerError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
