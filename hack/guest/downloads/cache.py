"""The cache of a guest's parts: filled once from Debian's archive, shared by all guests of a user.

A guest holds the lock shared while it runs, and so does verifying; filling and emptying hold it alone. What is
incomplete has another name until it is complete. Refuses machines that cannot have a guest, before anything is
downloaded.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

from hack.guest import errors, progress
from hack.guest.downloads import apt, parts

PACKAGES = ("qemu-system-x86", "linux-image-amd64", "busybox-static", "kmod")
# A third of the kernel's modules can have no device in the guest; without them depmod takes half the time.
UNUSED = ("sound", *(f"drivers/{name}" for name in ("gpu", "media", "staging", "iio", "usb", "scsi", "hwmon", "input")))


def default() -> Path:
    """Return the default folder of the cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sriov-underlay" / "lab"


@contextmanager
def borrowed(cache: Path, shown: progress.Progress) -> Iterator[parts.Parts]:
    """Yield the parts, fetched first if necessary; nobody can empty the cache until the context ends."""
    with _locked(cache, fcntl.LOCK_SH) as lock:
        while (have := parts.load(cache / "parts")) is None:
            shown.show("waiting for the cache")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if parts.load(cache / "parts") is None:
                _fill(cache, shown)
            fcntl.flock(lock, fcntl.LOCK_SH)  # the change releases the lock for a moment, so the loop looks again
        yield have


def fetch(cache: Path, shown: progress.Progress) -> parts.Parts:
    """Fill the cache, or read every file in it and fill it again if one has changed. Only filling waits for guests."""
    with _locked(cache, fcntl.LOCK_SH) as lock:
        shown.show("verifying the cache")
        have = parts.verify(cache / "parts")
        if have is None:
            shown.show("waiting until no guest runs from the cache")
            fcntl.flock(lock, fcntl.LOCK_EX)
            have = parts.verify(cache / "parts") or _fill(cache, shown)  # another may have filled it meanwhile
        return have


def clean(cache: Path) -> None:
    """Empties the cache. Refuses while a guest runs from it."""
    if not cache.is_dir():
        return
    try:
        with _locked(cache, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for path in cache.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
    except BlockingIOError as error:
        raise errors.LabError(f"a guest is running from {cache}; end it first") from error


@contextmanager
def _locked(cache: Path, mode: int) -> Iterator[int]:
    cache.mkdir(parents=True, exist_ok=True)
    lock = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, mode)
        yield lock
    finally:
        os.close(lock)


def _fill(cache: Path, shown: progress.Progress) -> parts.Parts:
    _refuse_other_machines()
    new = cache / "parts.new"
    for path in (new, cache / "parts"):
        shutil.rmtree(path, ignore_errors=True)
    unpack(_download(cache / "apt", shown), new / "root", shown)
    shutil.rmtree(cache / "apt")
    have = parts.found(new / "root")
    shown.show("indexing the kernel's modules")
    for folder in UNUSED:
        shutil.rmtree(have.modules / "kernel" / folder, ignore_errors=True)
    subprocess.run([*have.program("bin/kmod", "depmod"), "-b", have.root, have.release], check=True)
    parts.seal(have, new)
    new.rename(cache / "parts")
    shown.say(f"cached QEMU and Linux {have.release} in {cache}")
    return parts.Parts(cache / "parts" / "root", have.release)


def _download(folder: Path, shown: progress.Progress) -> list[Path]:
    try:
        return apt.fetched(folder, lambda private: private.download(PACKAGES, "QEMU and a kernel", shown), shown)
    except errors.UnavailableError as error:
        raise errors.UnavailableError(
            f"no QEMU >= 8 obtainable from this machine's mirror (bookworm-backports): {error}"
        ) from error


def unpack(packages: list[Path], root: Path, shown: progress.Progress) -> None:
    """Unpack them side by side below `root`; no package's scripts are run."""
    root.mkdir(parents=True)
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(subprocess.check_call, ["dpkg", "-x", str(deb), str(root)]) for deb in packages]
        for done, job in enumerate(futures.as_completed(jobs), 1):
            job.result()
            shown.show("unpacking", done / len(jobs))


def _refuse_other_machines() -> None:
    if platform.machine() != "x86_64":
        raise errors.UnavailableError(f"the igb guest is an x86_64 machine; this one is {platform.machine()}")
    if not Path("/etc/debian_version").exists() or shutil.which("apt-get") is None:
        raise errors.UnavailableError("QEMU and the kernel come from Debian's archive; this machine is not Debian")
