"""Log of recent CNI calls and their outcomes: a file in the run directory that shows later why a call failed.

For `sriovctl explain`: a runtime's log has the same, but the node's operator may not have that log, and it is not kept
by pod. Written after the shim has disconnected, so that no pod waits for it; at most two times _KEEP lines. A line that
cannot be written is dropped: a full disk costs a call nothing. The daemon never reads it, and nothing depends on it.
"""

import logging
import pathlib

import msgspec

_log = logging.getLogger(__name__)
_KEEP = 256  # calls; then the file replaces the older one


class CallOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `at` is in seconds since 1970, `ms` its duration; `code` 0 is success. Of stdin only names are kept."""

    at: float
    command: str
    container_id: str = ""
    ifname: str = ""
    namespace: str = ""
    pod: str = ""
    network: str = ""
    device: str = ""
    ms: float = 0.0
    code: int = 0
    message: str = ""
    details: str = ""


_OUTCOME = msgspec.json.Decoder(CallOutcome)


class Recent:
    """The file `recent.jsonl` of the run directory, and the one before it. One process writes."""

    def __init__(self, run_dir: pathlib.Path, keep: int = _KEEP) -> None:
        self._path = run_dir / "recent.jsonl"
        self._older = run_dir / "recent.1.jsonl"
        self._keep = keep
        self._lines: int | None = None  # unknown at first: another daemon may still be writing

    def note(self, outcome: CallOutcome) -> None:
        """Write the call down. Never raises."""
        try:
            self._append(msgspec.json.encode(outcome))
        except (OSError, ValueError) as error:  # ValueError: surrogates of bytes that are no UTF-8
            _log.debug("the call is not logged: %s", error)

    def read(self) -> tuple[CallOutcome, ...]:
        """Return the calls, oldest first. A damaged line is skipped."""
        found = (_decoded(line) for path in (self._older, self._path) for line in _lines(path))
        return tuple(one for one in found if one is not None)

    def _append(self, line: bytes) -> None:
        if self._lines is None:
            self._lines = len(_lines(self._path))
        if self._lines >= self._keep:
            self._path.replace(self._older)
            self._lines = 0
        with self._path.open("ab") as file:
            self._path.chmod(0o600)
            file.write(line + b"\n")
        self._lines += 1


def _lines(path: pathlib.Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError:
        return []


def _decoded(line: bytes) -> CallOutcome | None:
    try:
        return _OUTCOME.decode(line)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
