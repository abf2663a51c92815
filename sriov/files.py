"""Small files that are whole or not there: a draft beside the target is written, then renamed. Raises OSError.

The rename makes a file whole against a crash of the process; against a loss of power only a durable draft is whole. The
caller names the draft, since whoever finds one after a crash has to know whose it is.
"""

import errno
import os
import pathlib
import stat
from typing import BinaryIO, cast


def opened(path: pathlib.Path) -> BinaryIO:
    """Open a regular file to read it. What is none, as a FIFO whose reader would wait for a writer, is an OSError."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return cast("BinaryIO", file)


def write(path: pathlib.Path, content: bytes, *, draft: pathlib.Path, mode: int = 0o600, durable: bool = False) -> None:
    """Replace whatever is at `path` by a file with `content` and `mode`, in one step for those who read it; if
    `durable`, the disk has the content before."""
    stage(draft, content, mode, durable=durable)
    draft.rename(path)


def stage(draft: pathlib.Path, content: bytes, mode: int, *, durable: bool = False) -> None:
    """Write the draft alone, in the place of an older one; if `durable`, wait until the disk has it."""
    descriptor = _create(draft)
    try:
        while content:  # write(2) may take less than it was given, and says ENOSPC only when asked again
            content = content[os.write(descriptor, content) :]
        if mode != 0o600:
            os.fchmod(descriptor, mode)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(draft: pathlib.Path) -> int:
    """An empty file that nobody else has open: one that a crash left, or a link that somebody planted, is removed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(draft, flags, 0o600)
    except FileExistsError:
        draft.unlink(missing_ok=True)
        return os.open(draft, flags, 0o600)
