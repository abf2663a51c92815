"""Unix sockets that are whole, and their owner's alone, before they have their name.

Whoever binds one does so at a hidden name, and renames it when it answers.
"""

import contextlib
import errno
import os
import pathlib
import socket
import stat
import struct
from collections.abc import Iterator

AGENT_UID = 64731
"""The user that the agent runs as: nobody else's, also not that of other containers of the pod."""
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def peer_uid(sock: socket.socket) -> int:
    """Return the user that connected, as the kernel knows it (SO_PEERCRED)."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])


def listen(path: pathlib.Path) -> socket.socket:
    """Open a listening socket at `path`; replaces a former process's socket, but no other file. Raises OSError."""
    if is_blocked(path):
        raise FileExistsError(errno.EEXIST, "a file that is not a socket exists there", str(path))
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        draft.unlink(missing_ok=True)
        with for_the_owner_alone():
            sock.bind(str(draft))
        sock.listen(512)
        draft.rename(path)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


@contextlib.contextmanager
def for_the_owner_alone() -> Iterator[None]:
    """A socket that is bound in here has mode 0600. The umask is the process's: bind nothing else meanwhile."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def is_blocked(path: pathlib.Path) -> bool:
    """Whether something else than a socket is at `path`, which a rename would replace. Raises OSError."""
    try:
        return not stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return False
