"""Whether the kubelet still knows us, judged by what lies in its device-plugins directory.

A kubelet that starts removes every socket there, ours too, and makes its own anew
(pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go, CleanupPluginDirectory). inotify tells that at once but loses
events and stays with a directory that was replaced, so what it says only hastens the next look at the files.
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
    """Why a registration is no good any more; the value is for the log."""

    SOCKET_GONE = "its socket was removed"
    SOCKET_REPLACED = "another device plugin replaced its socket"
    NEW_KUBELET = "the kubelet's socket is a new one"
    NOT_WATCHED = "the kubelet watches it no more"


@dataclasses.dataclass(frozen=True, slots=True)
class Sight:
    """Our socket and the kubelet's, as found on disk; None where there is none."""

    own: Identity | None
    kubelet: Identity | None


def lost(registered: Sight, now: Sight, *, watched: bool) -> Lost | None:
    """Compare what was there at registration with what is there now. Pure.

    A kubelet's socket that is gone means nothing yet: the next one's does.
    """
    if now.own is None:
        return Lost.SOCKET_GONE
    if now.own != registered.own:
        return Lost.SOCKET_REPLACED
    if now.kubelet not in (None, registered.kubelet):
        return Lost.NEW_KUBELET
    return None if watched else Lost.NOT_WATCHED


def identity(path: pathlib.Path) -> Identity | None:
    """Which socket is there. A socket's mtime is set when it is bound; a relabel or chmod leaves it alone."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns) if stat.S_ISSOCK(found.st_mode) else None


async def accepts(path: pathlib.Path) -> bool:
    """Whether somebody listens on the socket."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def changes(folder: pathlib.Path, changed: Callable[[], None], poll: float) -> None:
    """Call `changed` soon after anything in the folder changed, for ever, though the folder be replaced or missing.

    `poll` is in seconds: how often to see whether it is still the same folder.
    """
    while True:
        with contextlib.suppress(OSError, RuntimeError), _pinned(folder) as pin:  # there is none, or no inotify left
            await _changes_of(folder, pin, changed, poll)
        changed()
        await asyncio.sleep(poll)


async def _changes_of(folder: pathlib.Path, pin: int, changed: Callable[[], None], poll: float) -> None:
    """Returns when the path is not the pinned folder any more."""
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
    """Hold the folder's inode, so that its number is given to no other while we compare."""
    pin = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield pin
    finally:
        os.close(pin)
