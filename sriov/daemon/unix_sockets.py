"""Unix sockets that listen, and that only their owner may use, before they get their name."""

import errno
import os
import pathlib
import socket
import stat


def listen(path: pathlib.Path) -> socket.socket:
    """Open a listening socket at `path`; replaces a former process's socket, but no other file. Raises OSError."""
    _refuse_other_files(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        draft.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            sock.bind(str(draft))
        finally:
            os.umask(before)
        sock.listen(512)
        draft.rename(path)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _refuse_other_files(path: pathlib.Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "a file that is not a socket exists there", str(path))
