"""Lock on the run directory, for one daemon at a time: two would each have their own locks for the same VFs.

The lock is flock(2) of the directory itself. It ends with its process, however that ends, since no child inherits the
descriptor; it counts in every mount namespace; and it cannot be removed, as a file in the directory can. A directory
that replaces it is another one, with another ledger: the holder of the first then holds nothing any more.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import pathlib
from collections.abc import Callable

from sriov import errors
from sriov.state import run_files

_log = logging.getLogger(__name__)
_POLL = 0.1  # seconds between two tries; when the other daemon has gone, a call waits that much longer
_TELL = 100  # polls between two messages to the supervisor
_STARTING = 60_000_000  # microseconds of start time that the supervisor is asked for each time


class RunDirectory:
    """The lock. `path` must exist. `waits` is true while another daemon has it and this one has not had it yet."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._lost = asyncio.Event()
        self.waits = False

    def take(self) -> bool:
        """Lock it, unless another daemon has it. Raises LedgerError if it does not exist or cannot be locked."""
        with run_files.refusals(self._path):
            fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(fd)
                if isinstance(error, BlockingIOError):
                    self.waits = True
                    return False
                raise
        self._fd = fd
        if not self.is_held():  # it was replaced between open and flock
            self.release()
        return self._fd is not None

    async def wait(self, stop: asyncio.Event, tell: Callable[[str], None]) -> bool:
        """Lock it once it is free; False if `stop` came first. `tell` is called with messages for the supervisor."""
        polls = 0
        while self._fd is None and not self.take():
            if polls % _TELL == 0:
                tell(f"STATUS={self.reason}\nEXTEND_TIMEOUT_USEC={_STARTING}")
            if polls == 0:
                _log.warning("%s", self.reason)
            polls += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _POLL)
            if stop.is_set():
                return False
        if self.waits:
            _log.info("the other daemon has gone, this one now uses run directory %s", self._path)
            tell("STATUS=")
        self.waits = False
        return True

    @property
    def reason(self) -> str:
        """Why a daemon that waits does not serve."""
        return (
            f"another CNI daemon uses run directory {self._path}: this one waits until that has gone"
            " (is there a unit and a DaemonSet?)"
        )

    def is_held(self) -> bool:
        """Report whether the directory at the path is the locked one. Two system calls. For the event loop's thread."""
        if self._fd is None:
            return False
        try:
            held = os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except OSError:
            held = False
        if not held:
            self._lost.set()
        return held

    async def lose(self, stop: asyncio.Event, interval: float = 15.0) -> None:
        """Wait until the lock is lost, then stop the daemon and raise LedgerError.

        Each call asks too whether it is held, so a daemon with calls knows at once.
        """
        while self.is_held():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), interval)
        stop.set()
        raise errors.LedgerError(
            f"run directory {self._path} was replaced while this daemon used it",
            "the daemon ends; started again, it uses the new directory",
        )

    def release(self) -> None:
        """Unlock it, when no work is left: mostly the end of the process does that."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._lost.clear()  # of another directory: what is taken next has not been lost
