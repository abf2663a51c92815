"""The daemons' run directory: what of it is ours, by name, and taking that away. Never what else somebody keeps there.

`--run-dir` may name any folder, by mistake or because others have files there too: nothing is removed for lying there.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator

from sriov import devices, errors

_FOLDERS = ("vfs", "homes", "defaults")
_OF_A_VF = (".json", ".tmp")
_FILES = re.compile(r"cni\.sock|\.cni\.sock\.\d+|recent(\.1)?\.jsonl|trouble\.(json|tmp)|[\w-]+\.lock")


def foreign(run_dir: pathlib.Path) -> list[str]:
    """Names of what is not ours, in it and in our folders, as paths from there."""
    return sorted(str(path.relative_to(run_dir)) for path in _all(run_dir) if not _is_ours(run_dir, path))


def clear(run_dir: pathlib.Path) -> None:
    """Remove what is ours, then our folders and the directory where nothing else is in them. Raises OSError."""
    for path in [each for each in _all(run_dir) if _is_ours(run_dir, each)]:
        path.unlink(missing_ok=True)  # a daemon that stops removes its socket itself
    for folder in (*(run_dir / name for name in _FOLDERS), run_dir):
        with contextlib.suppress(FileNotFoundError):
            if not folder.is_symlink() and not os.listdir(folder):
                folder.rmdir()


def _all(run_dir: pathlib.Path) -> Iterator[pathlib.Path]:
    """What lies in it and in our folders; these themselves are left out."""
    for path in run_dir.iterdir():
        if path.name in _FOLDERS and path.is_dir() and not path.is_symlink():
            yield from path.iterdir()
        else:
            yield path


def _is_ours(run_dir: pathlib.Path, path: pathlib.Path) -> bool:
    """Links and folders are somebody's, whatever their name."""
    if path.is_symlink() or path.is_dir():
        return False
    if path.parent == run_dir:
        return _FILES.fullmatch(path.name) is not None
    return path.name == ".try" or (path.suffix in _OF_A_VF and _is_address(path.stem))


def _is_address(name: str) -> bool:
    try:
        devices.pci_address(name)
    except errors.DeviceError:
        return False
    return True
