"""Level of a running daemon's log: that of its flag, unless a file or a signal says another.

The file may be an annotation of the daemon's pod, which the kubelet writes and keeps up to date (a volume of the
downward API): who may annotate the pod changes the level, without a shell, a token, or a socket that others reach too.
"""

import asyncio
import contextlib
import logging
import pathlib
import signal
from collections.abc import AsyncIterator

from sriov import files
from sriov.daemon import background, logs

_log = logging.getLogger(__name__)

_REST = 60.0  # seconds until a folder that is not there, or was replaced by a mount, is looked for again
_LONGEST = 64  # bytes of the file that are read


class Level:
    """The level. `flag` is what it is if the file is not there or empty."""

    def __init__(self, flag: str, file: pathlib.Path | None = None) -> None:
        self._flag = self._usual = flag
        self._file = file
        self._seen = ("", "")

    def look(self) -> None:
        """Set what the file says, if that is not what it said at the last look. A problem with it is logged once."""
        seen = self._read()
        if seen == self._seen:
            return
        self._seen = seen
        text, problem = seen
        if problem:
            _log.error("%s; the level is kept", problem)
            return
        self._usual = text or self._flag
        logs.change(self._usual)

    def restore(self) -> None:
        """Set the level that was in force before a signal."""
        logs.change(self._usual)

    def _read(self) -> tuple[str, str]:
        """Return the file's level, "" if it names none, and what is wrong with the file."""
        if self._file is None:
            return "", ""
        try:
            with files.opened(self._file) as file:
                text = file.read(_LONGEST).decode(errors="replace").strip().lower()
        except FileNotFoundError:
            return "", ""
        except OSError as error:
            return "", f"the log level in {self._file} cannot be read: {error.strerror}"
        if text in ("", *logs.LEVELS):
            return text, ""
        return "", f"log level {text!r} in {self._file} invalid: use one of {', '.join(logs.LEVELS)}"


@contextlib.asynccontextmanager
async def followed(flag: str, file: pathlib.Path | None, tasks: background.Background) -> AsyncIterator[None]:
    """Follow the file, and have SIGUSR1 set the level to debug and SIGUSR2 back, until the context ends."""
    level, loop = Level(flag, file), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, logs.change, "debug")
    loop.add_signal_handler(signal.SIGUSR2, level.restore)
    if file is None:
        yield
        return
    following = asyncio.create_task(tasks.keep(f"watching {file}", lambda: _follow(level, file)))
    try:
        yield
    finally:
        following.cancel()


async def _follow(level: Level, file: pathlib.Path) -> None:
    from sriov.daemon import folder_watch  # noqa: PLC0415  # who follows no file does not load what watches it

    changed = asyncio.Event()
    changed.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(folder_watch.changes(file.parent, changed.set, _REST, _REST))
        while await changed.wait():
            changed.clear()
            level.look()
