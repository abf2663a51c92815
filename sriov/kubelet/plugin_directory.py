"""State of a registration with the kubelet, judged by the files in its device-plugins directory.

A starting kubelet removes every socket there, ours too, and makes a new one for itself
(pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go, CleanupPluginDirectory). inotify reports that at once, but loses
events and stays with a directory that was replaced, so an event only brings forward the next look at the files.
"""

import asyncio
import contextlib
import dataclasses
import enum
import os
import pathlib
import stat
from collections.abc import Callable, Iterator

import watchfiles

Identity = tuple[int, int, int]
"""Device, inode, and time of creation in nanoseconds: file systems give a freed inode to the next file."""

_STEP = 100  # ms; how often watchfiles' thread looks for events, and so what idling costs


class Lost(enum.Enum):
    """Why a registration is no longer valid; the value is for the log."""

    SOCKET_GONE = "its socket was removed"
    SOCKET_REPLACED = "another device plugin replaced its socket"
    NEW_KUBELET = "the kubelet has a new socket"
    NOT_WATCHED = "the kubelet no longer watches it"


@dataclasses.dataclass(frozen=True, slots=True)
class Sight:
    """Our socket and the kubelet's, as on disk; None if there is none."""

    own: Identity | None
    kubelet: Identity | None


def lost(registered: Sight, now: Sight, *, watched: bool) -> Lost | None:
    """Compare what was there at registration with what is there now. Pure.

    The absence of the kubelet's socket means nothing yet: the appearance of the next one does.
    """
    if now.own is None:
        return Lost.SOCKET_GONE
    if now.own != registered.own:
        return Lost.SOCKET_REPLACED
    if now.kubelet not in (None, registered.kubelet):
        return Lost.NEW_KUBELET
    return None if watched else Lost.NOT_WATCHED


def identity(path: pathlib.Path) -> Identity | None:
    """Return a socket's identity. Its mtime is set when it is bound; a relabel or chmod leaves it alone."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns) if stat.S_ISSOCK(found.st_mode) else None


async def accepts(path: pathlib.Path) -> bool:
    """Report whether a process listens on the socket."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def changes(folder: pathlib.Path, changed: Callable[[], None], poll: float) -> None:
    """Call `changed` soon after anything in the folder changes, for ever, even if the folder is replaced or missing.

    `poll` is the interval in seconds between checks that it is still the same folder.
    """
    while True:
        with contextlib.suppress(OSError, RuntimeError), _pinned(folder) as pin:  # there is none, or no inotify left
            await _changes_of(folder, pin, changed, poll)
        changed()
        await asyncio.sleep(poll)


async def _changes_of(folder: pathlib.Path, pin: int, changed: Callable[[], None], poll: float) -> None:
    """Report changes of the pinned folder; returns when the path is another folder."""
    events = watchfiles.awatch(
        folder,
        watch_filter=None,
        debounce=2 * _STEP,
        step=_STEP,
        rust_timeout=int(poll * 1000),
        yield_on_timeout=True,
        recursive=False,
    )
    async with contextlib.aclosing(events):
        async for batch in events:
            if batch:
                changed()
            if not os.path.samestat(folder.stat(), os.fstat(pin)):
                return


@contextlib.contextmanager
def _pinned(folder: pathlib.Path) -> Iterator[int]:
    """Hold the folder's inode, so that no other folder gets its number while they are compared."""
    pin = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield pin
    finally:
        os.close(pin)
