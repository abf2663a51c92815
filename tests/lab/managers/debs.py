"""NetworkManager, systemd-networkd, udev and the bus of Debian 12, none of them from its backports.

They run from where they are unpacked, on the machine's C library and, for the rest, on libraries of their own.
"""

import pathlib

from tests.lab import stores

_ASKED = ("network-manager", "systemd", "udev", "dbus-daemon")
_LIBRARIES = "lib/x86_64-linux-gnu"


def _keeps(name: str) -> bool:
    return name in _ASKED or (name.startswith("lib") and name != "libc6" and "perl" not in name)


_WHAT = "network managers"
STORE = stores.Store("managers", _WHAT, lambda apt, shown: apt.download(_ASKED, _WHAT, shown), _keeps, ("bookworm",))


def linker_path(store: pathlib.Path) -> str:
    """systemd's programs have a library in a folder of its own."""
    folders = (f"{root}{_LIBRARIES}{below}" for root in ("", "usr/") for below in ("", "/systemd"))
    return ":".join(str(store / each) for each in folders)
