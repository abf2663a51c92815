"""Peers that ours are compared with: two versions of containernetworking-plugins, as Debian builds them.

The current release is Debian's in sid, unpacked into a cache and never installed; it runs on Debian 12. The old one is
Debian 12's own package; any other old version is refused. No mirror's address is here: apt's sources have it.
"""

import dataclasses
import fcntl
import pathlib
import re
import shutil
import subprocess
import sys

from hack.guest import errors, progress
from hack.guest.downloads import apt, cache

PACKAGE = "containernetworking-plugins"
_CURRENT, _OLD = "1.9", "1.1.1"


@dataclasses.dataclass(frozen=True, slots=True)
class Peers:
    """Folders with the plugins of each release."""

    current: pathlib.Path
    old: pathlib.Path


def provide() -> Peers:
    """Return both, fetched first if necessary. Raises UnavailableError."""
    return Peers(_current(), _old())


def _old() -> pathlib.Path:
    asked = ["dpkg-query", "-W", "-f", "${Version}", PACKAGE]
    version = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    if not version.startswith(_OLD):
        found = version or "none"
        raise errors.UnavailableError(
            f"{PACKAGE} {_OLD} is needed, of Debian 12, and this machine has {found}: run hack/packages {PACKAGE}"
        )
    return pathlib.Path("/usr/lib/cni")


def _current() -> pathlib.Path:
    store = cache.default().parent / "cni-plugins"
    store.parent.mkdir(parents=True, exist_ok=True)
    with store.with_name("cni-plugins.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not store.is_dir():
            _fill(store)
    return store / "usr/lib/cni"


def _fill(store: pathlib.Path) -> None:
    shown, new, work = progress.Progress(sys.stderr), store.with_name("cni-plugins.new"), store.with_name("cni-apt")
    for folder in (new, work):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        [deb] = apt.fetched(work, lambda private: private.download_alone([PACKAGE], PACKAGE, shown), shown, ("sid",))
    except errors.UnavailableError as error:
        raise errors.UnavailableError(
            f"{PACKAGE} {_CURRENT} is compared with and cannot be had from sid: {error}"
        ) from error
    version = subprocess.run(["dpkg-deb", "-f", deb, "Version"], check=True, capture_output=True, text=True).stdout
    if not re.match(rf"{re.escape(_CURRENT)}\b", version):
        shown.say(f"sid has {PACKAGE} {version.strip()} by now, which is compared with; targets are for {_CURRENT}")
    subprocess.run(["dpkg", "-x", deb, new], check=True)
    shutil.rmtree(work)
    new.rename(store)
    shown.say(f"cached {PACKAGE} {version.strip()} in {store}")
