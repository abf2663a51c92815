"""Small files of the run directory: each complete or absent, readable by its owner alone. Raises LedgerError.

The directory is on tmpfs, so nothing is fsynced.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from sriov import errors, files


def make_folder(folder: pathlib.Path) -> None:
    """Make the directory, or refuse one that others can change."""
    with refusals(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise errors.LedgerError(
            f"users other than its owner can change {folder}", f"make it uid {os.geteuid()}'s, mode 0700"
        )


def write(path: pathlib.Path, data: bytes) -> None:
    """Write `data` to the path, replacing any file there."""
    with refusals(path):
        files.write(path, data, draft=path.with_suffix(".tmp"))


def read(path: pathlib.Path) -> bytes | None:
    """Return the file's content; None if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.LedgerError(f"cannot read {path}: {error.strerror}", "does root own the run directory?") from error


def listed(folder: pathlib.Path, suffix: str) -> list[pathlib.Path]:
    """Return the files of this suffix, in order; none if there is no such folder.

    One that cannot be listed is an error, and not empty: pathlib's glob() takes both for the same.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == suffix)
    except FileNotFoundError:
        return []
    except OSError as error:
        remedy = "does root own the run directory, and is this root?"
        raise errors.LedgerError(f"cannot list {folder}: {error.strerror}", remedy) from error


@contextlib.contextmanager
def refusals(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "free space there, or give another --run-dir"
        raise errors.LedgerError(f"cannot use the ledger {path}: {error.strerror}", remedy) from error
