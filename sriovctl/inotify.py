"""Tells that something in a folder changed: inotify(7) on the event loop, since no library that we have waits for it.

watchfiles' thread looks every some milliseconds whether the kernel has told it something, which is late or costs a
program that idles. An event is a reason to look again, never a fact to build on: none is read but the folder's own end.
"""

import asyncio
import ctypes
import os
import pathlib
import struct
from collections.abc import AsyncGenerator, Iterator

_EVENT = struct.Struct("iIII")  # struct inotify_event: watch, mask, cookie, length of the name behind it
_CONTENT = 0x002 | 0x004 | 0x040 | 0x080 | 0x100 | 0x200  # IN_MODIFY, ATTRIB, MOVED_FROM, MOVED_TO, CREATE, DELETE
_END = 0x400 | 0x800  # IN_DELETE_SELF, IN_MOVE_SELF
_ONLYDIR = 0x01000000
_BUFFER = 65536


async def changes(folder: pathlib.Path) -> AsyncGenerator[None, None]:
    """One item for each time that events came; the last where the folder is removed or moved away.

    Raises OSError where there is no such folder, or no inotify left.
    """
    descriptor = _watching(folder)
    try:
        ended = False
        while not ended:
            await _readable(descriptor)
            ended = any(mask & _END for mask in _masks(os.read(descriptor, _BUFFER)))
            yield
    finally:
        os.close(descriptor)


def _watching(folder: pathlib.Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1", str(folder))
    if libc.inotify_add_watch(descriptor, os.fsencode(folder), _CONTENT | _END | _ONLYDIR) < 0:
        code = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(code, "inotify_add_watch", str(folder))
    return descriptor


def _masks(events: bytes) -> Iterator[int]:
    offset = 0
    while offset < len(events):
        _, mask, _, length = _EVENT.unpack_from(events, offset)
        yield mask
        offset += _EVENT.size + length


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
