"""State of a registration with the kubelet, judged by the files in its device-plugins directory.

A kubelet that starts removes every socket there, ours too, and creates its own again
(pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go, CleanupPluginDirectory). Events of that can be
lost, so they only hasten the next look at the files.
"""

import asyncio
import contextlib
import enum
import os
import pathlib
import stat

import msgspec

Identity = tuple[int, int, int]
"""Device, inode, and time of creation in nanoseconds: file systems give a freed inode to the next file."""


class Lost(enum.Enum):
    """Why a registration is no longer valid; the value is for the log."""

    SOCKET_GONE = "its socket was removed"
    SOCKET_REPLACED = "another device plugin replaced its socket"
    NEW_KUBELET = "the kubelet has a new socket"
    NOT_WATCHED = "the kubelet no longer watches it"


class Sight(msgspec.Struct, frozen=True):
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
