"""podman and containerd from Debian 12's archive.

Installed, containerd would start as a service of this machine and displace another one, and podman would bring a
network of its own; a user who runs the tests wants neither. The guest's root is a throw-away overlay: there they are
linked to where they belong.
"""

import pathlib
from collections.abc import Iterator

from tests.lab import stores

PROGRAMS = ("podman", "conmon", "crun", "containerd", "runc")
_ASKED = tuple(f"{name}/bookworm" for name in ("podman", "crun", "containerd", "runc"))  # podman 5 has no CNI
_LIBRARIES = "lib/x86_64-linux-gnu"


def _keeps(name: str) -> bool:
    return name in PROGRAMS or (name.startswith("lib") and name != "libc6" and "perl" not in name)


_WHAT = "podman and containerd"
STORE = stores.Store("runtimes", _WHAT, lambda apt, shown: apt.download(_ASKED, _WHAT, shown), _keeps)


def install() -> None:
    """In the guest: link the programs and those of their libraries that the machine does not have."""
    for source in _installable(STORE.needs()):
        target = pathlib.Path("/usr", *source.parts[-3 if _LIBRARIES in str(source) else -2 :])
        if not target.exists():
            target.symlink_to(source)


def _installable(store: pathlib.Path) -> Iterator[pathlib.Path]:
    for folder in ("usr/bin", "usr/sbin"):
        yield from (store / folder).iterdir()
    for folder in (_LIBRARIES, f"usr/{_LIBRARIES}"):
        yield from (store / folder).glob("*.so*")
