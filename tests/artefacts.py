"""What is released, built once and kept in build/ until its sources change: the wheel, the image's root file system.

Tests of the image run this and not the checkout. Several processes may ask at once.
"""

import contextlib
import fcntl
import functools
import hashlib
import pathlib
import shutil
import subprocess
from collections.abc import Iterator

PROJECT = pathlib.Path(__file__).parents[1]
BUILD = PROJECT / "build/artefacts"
ROOTFS = BUILD / "rootfs"
_RECIPE = ("hack/build-rootfs", "hack/sbom.py", "deploy/image/packages", "requirements.lock")


class BuildError(Exception):
    """What the script said; it may be that this machine cannot build it."""


@functools.cache
def wheel() -> pathlib.Path:
    """Raises BuildError."""
    with _locked():
        return pathlib.Path(_output("hack/build-wheel", "--out", str(BUILD)))


@functools.cache
def rootfs() -> pathlib.Path:
    """Raises BuildError."""
    packed = wheel()
    parts = [packed, *(PROJECT / name for name in _RECIPE)]
    want = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()
    stamp = ROOTFS.with_suffix(".sha256")
    with _locked():
        if not stamp.exists() or stamp.read_text() != want:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(ROOTFS, ignore_errors=True)
            _output("hack/build-rootfs", "--wheel", str(packed), str(ROOTFS))
            stamp.write_text(want)
    return ROOTFS


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _output(script: str, *arguments: str) -> str:
    done = subprocess.run([PROJECT / script, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(done.stderr.strip())
    return done.stdout.strip()
