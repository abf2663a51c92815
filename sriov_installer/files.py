"""Files of a node: each whole or not there, also after a loss of power. Raises SriovError.

A draft lies beside its target under one fixed name, so that whoever comes after a crash writes over it or removes it.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import stat
from collections.abc import Iterator

from sriov import errors, files
from sriov_installer import run_directory


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What is at a path. `content` is None for what is no regular file: a link, a folder."""

    content: bytes | None
    mode: int = 0
    folder: bool = False


def look(path: pathlib.Path) -> Found | None:
    """None where nothing is. A link is not followed: it is somebody's, wherever it leads."""
    with _told("read", path):
        try:
            facts = path.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(facts.st_mode):
            return Found(None, folder=stat.S_ISDIR(facts.st_mode))
        return Found(path.read_bytes(), stat.S_IMODE(facts.st_mode))


def backup(path: pathlib.Path) -> pathlib.Path:
    """Where another's file is kept."""
    return path.with_name(f"{path.name}.before-sriov-underlay")


def draft(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.sriov-underlay")


def stage(path: pathlib.Path, content: bytes, mode: int) -> None:
    """Write the draft, and wait until the disk has it."""
    with _told("write", path):
        files.stage(draft(path), content, mode, durable=True)


def commit(path: pathlib.Path) -> None:
    """Put the draft in the place of what is there: at no time is there no file."""
    with _told("replace", path):
        draft(path).rename(path)
        _sync(path.parent)


def keep(path: pathlib.Path) -> None:
    """Give what is there a second name, its backup's."""
    with _told("keep a backup of", path):
        draft(backup(path)).unlink(missing_ok=True)
        os.link(path, draft(backup(path)), follow_symlinks=False)
        draft(backup(path)).rename(backup(path))
        draft(backup(path)).unlink(missing_ok=True)  # rename(2) does nothing where both are the same file already
        _sync(path.parent)


def restore(path: pathlib.Path) -> None:
    with _told("restore", path):
        backup(path).rename(path)
        _sync(path.parent)


def remove(path: pathlib.Path) -> None:
    with _told("remove", path):
        path.unlink(missing_ok=True)
        _sync(path.parent)


def clear_run_folder(path: pathlib.Path) -> None:
    with _told("remove our files in", path):
        run_directory.clear(path)


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """One at a time: an init container and an administrator may meet here."""
    with _told("lock", folder):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _told("lock", folder):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _sync(folder: pathlib.Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _told(verb: str, path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = f"free space or mend {path.parent}, then run the same command again"
        raise errors.SriovError(f"cannot {verb} {path}: {error.strerror}", remedy) from error
