"""Files of a node: each complete or absent, also after a power failure. Raises SriovError.

A draft is beside its target under one fixed name, so that the next run after a crash overwrites or removes it.
"""

import contextlib
import fcntl
import os
import pathlib
import stat
from collections.abc import Iterator

import msgspec

from sriov import errors, files
from sriov.linux.bpf import pinned
from sriov_installer import run_directory

_STATE = ("services", ".services.draft", "policies", ".policies.draft")
"""What the CNI daemon keeps of the agent's tables (--cluster-snapshot, --policy-snapshot), and leaves if it dies."""


class Found(msgspec.Struct, frozen=True):
    """The file at a path. `content` is None if it is no regular file: a link, a folder."""

    content: bytes | None
    mode: int = 0
    folder: bool = False


def look(path: pathlib.Path) -> Found | None:
    """Read the file; None if there is none. A link is not followed: it is somebody else's, wherever it leads."""
    with _told("read", path):
        try:
            facts = path.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(facts.st_mode):
            return Found(None, folder=stat.S_ISDIR(facts.st_mode))
        return Found(path.read_bytes(), stat.S_IMODE(facts.st_mode))


def backup(path: pathlib.Path) -> pathlib.Path:
    """Return the path at which another program's file is kept."""
    return path.with_name(f"{path.name}.before-sriov-underlay")


def draft(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.sriov-underlay")


def make_folder(path: pathlib.Path) -> None:
    """Make the folder if it is not there: a shell's, of completions; the others were looked for before."""
    with _told("make", path):
        path.mkdir(parents=True, exist_ok=True)


def stage(path: pathlib.Path, content: bytes, mode: int) -> None:
    """Write the draft, and wait until it is on the disk."""
    with _told("write", path):
        files.stage(draft(path), content, mode, durable=True)


def commit(path: pathlib.Path) -> None:
    """Replace the file by the draft: at no time is there no file."""
    with _told("replace", path):
        draft(path).rename(path)
        _sync(path.parent)


def keep(path: pathlib.Path) -> None:
    """Give the file a second name, its backup's."""
    with _told("keep a backup of", path):
        draft(backup(path)).unlink(missing_ok=True)
        os.link(path, draft(backup(path)), follow_symlinks=False)
        draft(backup(path)).rename(backup(path))
        draft(backup(path)).unlink(missing_ok=True)  # rename(2) does nothing if both are already the same file
        _sync(path.parent)


def restore(path: pathlib.Path) -> None:
    with _told("restore", path):
        backup(path).rename(path)
        _sync(path.parent)


def remove(path: pathlib.Path) -> None:
    with _told("remove", path):
        path.unlink(missing_ok=True)
        _sync(path.parent)
        if path.parent.suffix == ".d":  # of a unit's parts, made for ours
            _remove_empty(path.parent)


def clear_run_folder(path: pathlib.Path) -> None:
    with _told("remove our files in", path):
        run_directory.clear(path)


def has_pins(folder: pathlib.Path) -> bool:
    with _told("read", folder):
        return bool(pinned.found(folder))


def end_services(folder: pathlib.Path) -> None:
    with _told("end what is pinned in", folder):
        pinned.remove(folder)


def has_state(folder: pathlib.Path) -> bool:
    return any((folder / name).is_file() for name in _STATE)


def clear_state(folder: pathlib.Path) -> None:
    with _told("remove our files in", folder):
        for name in _STATE:
            (folder / name).unlink(missing_ok=True)
        _remove_empty(folder)


def _remove_empty(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Lock the folder: an init container and an administrator may run at the same time."""
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
        remedy = f"free space or fix {path.parent}, then run the same command again"
        raise errors.SriovError(f"cannot {verb} {path}: {error.strerror}", remedy) from error
