"""Our files in the daemons' run directory, known by name, and their removal. Other files there are never touched.

`--run-dir` may name any folder, by mistake or because others have files there too: no file is removed only because it
is there.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator

from sriov import devices, errors

_CLUSTER = "cluster"  # of the agent's sockets, in a DaemonSet
_CLAIMS = "claims"  # grants, by the UIDs of their claims
_CALLS = "claimed"  # what a call attached for claims, by its interface and container
_FOLDERS = ("vfs", "homes", "defaults", "attached", _CLAIMS, _CALLS, _CLUSTER)
_OF_A_VF = (".json", ".tmp")
_OF_THE_AGENT = re.compile(r"(agent|policies)\.sock|\.(agent|policies)\.sock\.\d+")
_OF_A_CLAIM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(json|tmp)")
_OF_A_CALL = re.compile(r"[^/@]+@[^/]+\.(json|tmp)")
_FILES = re.compile(r"cni\.sock|\.cni\.sock\.\d+|recent(\.1)?\.jsonl|(trouble|policies)\.(json|tmp)|[\w-]+\.lock")


def foreign(run_dir: pathlib.Path) -> list[str]:
    """Return the names of files that are not ours, in it and in our folders, as relative paths."""
    return sorted(str(path.relative_to(run_dir)) for path in _all(run_dir) if not _is_ours(run_dir, path))


def clear(run_dir: pathlib.Path) -> None:
    """Remove our files, then our folders and the directory if nothing else is in them. Raises OSError."""
    for path in [each for each in _all(run_dir) if _is_ours(run_dir, each)]:
        path.unlink(missing_ok=True)  # a daemon that stops removes its socket itself
    for folder in (*(run_dir / name for name in _FOLDERS), run_dir):
        with contextlib.suppress(FileNotFoundError):
            if not folder.is_symlink() and not os.listdir(folder):
                folder.rmdir()


def _all(run_dir: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield what is in it and in our folders, without these folders themselves."""
    for path in run_dir.iterdir():
        if path.name in _FOLDERS and path.is_dir() and not path.is_symlink():
            yield from path.iterdir()
        else:
            yield path


def _is_ours(run_dir: pathlib.Path, path: pathlib.Path) -> bool:
    """Report whether a file is ours. Links and folders never are, whatever their name."""
    if path.is_symlink() or path.is_dir():
        return False
    if path.parent == run_dir:
        return _FILES.fullmatch(path.name) is not None
    if path.parent.name == _CLUSTER:
        return _OF_THE_AGENT.fullmatch(path.name) is not None
    if path.parent.name == _CLAIMS:
        return _OF_A_CLAIM.fullmatch(path.name) is not None
    if path.parent.name == _CALLS:
        return _OF_A_CALL.fullmatch(path.name) is not None
    return path.name == ".try" or (path.suffix in _OF_A_VF and _is_address(path.stem))


def _is_address(name: str) -> bool:
    try:
        devices.pci_address(name)
    except errors.DeviceError:
        return False
    return True
