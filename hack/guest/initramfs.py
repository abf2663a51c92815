"""Initramfs of the guest: a busybox, the few modules that reach the root file system and the NICs, and the job.

It is written for every run, which takes milliseconds, so that a run's command and environment are in it and need
neither a shared folder nor space on the kernel command line. Pure.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable
from pathlib import Path


def member(name: str, mode: int, body: bytes = b"") -> bytes:
    """One file, folder or device of a cpio archive in the `newc` format (Documentation/driver-api/early-userspace)."""
    fields = (0, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(header) + _padded(body)


def archive(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A cpio archive of executable files, with the folders they are in; /dev/console is there for the first process."""
    files = list(files)
    folders = sorted({str(parent) for name, _ in files for parent in Path(name).parents} - {"."} | {"dev"})
    return b"".join(
        (
            *(member(folder, 0o040755) for folder in [*folders, "proc", "sys"]),
            *(member(name, 0o100755, body) for name, body in files),
            member("TRAILER!!!", 0),
        )
    )


def load_order(modules_dep: str, wanted: Iterable[str]) -> list[str]:
    """The module files that the wanted ones need, in the order in which they can be loaded.

    `modules_dep` is depmod's table: a file, a colon, what it needs with the nearest first. Built-in modules are
    not in it, so a wanted name that is missing is left out.
    """
    table = {}
    for line in modules_dep.splitlines():
        path, _, needs = line.partition(":")
        table[module_name(path)] = [*reversed(needs.split()), path]
    return list(dict.fromkeys(path for name in wanted for path in table.get(name, ())))


def needs(module: bytes) -> list[str]:
    """Return what has to be loaded before a module that is not in depmod's table, from its .modinfo section."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return found[1].decode().split(",") if found and found[1] else []


def module_name(path: str) -> str:
    """`kernel/fs/9p/9p.ko.xz` is module `9p`; the kernel takes - and _ for the same."""
    return Path(path).name.split(".ko")[0].replace("-", "_")


def unpacked(path: Path) -> bytes:
    """Return a module's bytes without xz compression: busybox cannot ask the kernel to decompress it."""
    body = path.read_bytes()
    return lzma.decompress(body) if path.suffix == ".xz" else body


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
