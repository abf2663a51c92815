"""The run directory, which one daemon works in at a time: two would have locks of their own for the same VFs.

The lock is flock(2) of the directory itself. It ends with the process that holds it, however that ends, since nobody
inherits the descriptor; it counts in every mount namespace; and it cannot be removed, as a file in the directory can. A
directory that is put in its place is another one, with another ledger: who held the first holds nothing any more.
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
_POLL = 0.1  # seconds between two tries; a call waits that much longer where the other daemon has gone
_TELL = 100  # polls between two words to the supervisor
_STARTING = 60_000_000  # microseconds that the supervisor is asked for each time


class RunDirectory:
    """`path` exists. `waits` is true while another daemon is in it and this one has not had it yet."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._fd: int | None = None
        self.waits = False

    def take(self) -> bool:
        """Hold it, unless another does. Raises LedgerError where it is not there or cannot be locked."""
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
        if not self.is_held():  # it was replaced between the two
            self.release()
        return self._fd is not None

    async def wait(self, stop: asyncio.Event, tell: Callable[[str], None]) -> bool:
        """Hold it once nobody else does; False where `stop` came first. `tell` hears that this may take long."""
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
            _log.info("the other daemon has gone: run directory %s is this one's", self._path)
            tell("STATUS=")
        self.waits = False
        return True

    @property
    def reason(self) -> str:
        """Why a daemon that waits does not serve."""
        return (
            f"another CNI daemon works in run directory {self._path}: this one waits until that has gone"
            " (is there a unit and a DaemonSet?)"
        )

    def is_held(self) -> bool:
        """Whether the directory at the path is the one that is held. One request."""
        if self._fd is None:
            return False
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except OSError:
            return False

    async def lose(self, stop: asyncio.Event, interval: float = 1.0) -> None:
        """Wait until it is not held any more, and stop the daemon. Raises LedgerError then."""
        while self.is_held():
            await asyncio.sleep(interval)
        stop.set()
        raise errors.LedgerError(
            f"run directory {self._path} is not the one that this daemon began to work in",
            "somebody replaced it; the daemon ends, and whoever starts it again has it begin anew",
        )

    def release(self) -> None:
        """Only when nobody works any more: mostly the end of the process does it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
