"""podman and containerd from Debian 12's archive, unpacked into the lab's cache and never installed.

Installed, containerd would start as a service of this machine and displace another one, and podman would bring a
network of its own; a user who runs the tests wants neither. The guest's root is a throw-away overlay: there they are
linked to where they belong. Fetched by the machine, since the guest has no network.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

from hack.guest import apt, cache, errors, progress

PROGRAMS = ("podman", "conmon", "crun", "containerd", "runc")
_ASKED = tuple(f"{name}/bookworm" for name in ("podman", "crun", "containerd", "runc"))  # podman 5 has no CNI
_LIBRARIES = "lib/x86_64-linux-gnu"
# The guest sees neither the environment that moves the cache nor what the machine's pytest knows.
NOTE = pathlib.Path(sys.prefix) / "lab-runtimes"
_MISSING = "missing: "


def provide() -> None:
    """On the machine: fetch what is not cached yet, and leave a note for the guest."""
    store = cache.default() / "runtimes"
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with (store.parent / "runtimes.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not store.is_dir():
                _fill(store)
        NOTE.write_text(str(store))
    except errors.LabError as error:
        NOTE.write_text(f"{_MISSING}{error}")


def missing() -> str | None:
    """In the guest: why there is nothing to install, or None."""
    note = NOTE.read_text() if NOTE.exists() else f"{_MISSING}nothing was fetched"
    return note.removeprefix(_MISSING) if note.startswith(_MISSING) else None


def install() -> None:
    """In the guest: link the programs and those of their libraries that the machine does not have."""
    store = pathlib.Path(NOTE.read_text())
    for source in _installable(store):
        target = pathlib.Path("/usr", *source.parts[-3 if _LIBRARIES in str(source) else -2 :])
        if not target.exists():
            target.symlink_to(source)


def _installable(store: pathlib.Path) -> Iterator[pathlib.Path]:
    for folder in ("usr/bin", "usr/sbin"):
        yield from (store / folder).iterdir()
    for folder in (_LIBRARIES, f"usr/{_LIBRARIES}"):
        yield from (store / folder).glob("*.so*")


def _fill(store: pathlib.Path) -> None:
    shown = progress.Progress(sys.stderr)
    new = store.with_name("runtimes.new")
    for folder in (new, debs := store.with_name("runtimes.apt")):
        shutil.rmtree(folder, ignore_errors=True)
    new.mkdir()
    for deb in _downloaded(debs, shown):
        name = deb.name.partition("_")[0]
        if name in PROGRAMS or (name.startswith("lib") and name != "libc6" and "perl" not in name):
            subprocess.run(["dpkg", "-x", deb, new], check=True)
    shutil.rmtree(debs)
    new.rename(store)
    shown.clear()


def _downloaded(folder: pathlib.Path, shown: progress.Progress) -> list[pathlib.Path]:
    try:
        return apt.fetched(folder, lambda private: private.download(_ASKED, "podman and containerd", shown), shown)
    except errors.UnavailableError as error:
        raise errors.UnavailableError(
            f"no podman and containerd obtainable from this machine's mirror: {error}"
        ) from error


def wanted() -> bool:
    """Whether this process is the machine's and may have a guest."""
    return os.environ.get("SRIOV_LAB") != "guest" and os.geteuid() == 0
