"""Tells that something in a folder changed, by inotify, also when the folder is replaced or not there yet.

inotify stays with the folder that had the path when the watch began. Its end is an event; another file system that is
mounted over it is none, so the path is compared now and then. A loop that awaits asyncinotify's own reader loses what
comes while it is cancelled (asyncinotify 4.4.4, `Inotify._get`), so the descriptor is read here when it can be.
"""

import asyncio
import contextlib
import os
import pathlib
from collections.abc import Callable

import asyncinotify
from asyncinotify import Mask

_CONTENT = Mask.MODIFY | Mask.ATTRIB | Mask.MOVE | Mask.CREATE | Mask.DELETE
_END = Mask.DELETE_SELF | Mask.MOVE_SELF
_OVER = _END | Mask.UNMOUNT | Mask.IGNORED


async def changes(folder: pathlib.Path, changed: Callable[[], None], absence: float, recheck: float) -> None:
    """Call `changed` whenever something in the folder has changed, and when it has come; ends only by cancellation.

    Seconds: every `absence` a folder is looked for that is not there or cannot be watched, every `recheck` it is
    compared with the one that is watched. `changed` may only wake somebody: it must not wait.
    """
    while True:
        with contextlib.suppress(OSError):  # there is no folder, or no inotify left
            await _changes_of_this(folder, changed, recheck)
        await asyncio.sleep(absence)
        if folder.is_dir():
            changed()


async def _changes_of_this(folder: pathlib.Path, changed: Callable[[], None], recheck: float) -> None:
    """Returns when the path is another folder's. Raises OSError when it is nobody's."""
    woken = asyncio.Event()
    loop = asyncio.get_running_loop()
    with asyncinotify.Inotify(sync_timeout=0) as watcher:
        watcher.add_watch(folder, _CONTENT | _END | Mask.ONLYDIR)
        watched = folder.stat()
        loop.add_reader(watcher.fd, woken.set)
        try:
            while os.path.samestat(folder.stat(), watched):
                await _wait(woken, recheck)
                if _read(watcher, changed) & _OVER:
                    return
        finally:
            loop.remove_reader(watcher.fd)


async def _wait(woken: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await woken.wait()
    woken.clear()


def _read(watcher: asyncinotify.Inotify, changed: Callable[[], None]) -> Mask:
    """All events that have come, which count as one. Returns what they are together."""
    seen = Mask(0)
    for event in watcher:
        seen |= event.mask
    if seen:
        changed()
    return seen
