"""Pins of the programs for Services in a BPF file system: which there are, and their end.

A pin keeps a program's link or a map in the kernel while no process has it. Its removal ends it.
"""

import contextlib
import pathlib
import shutil

from sriov.linux.bpf import programs

_LAYOUTS = "services-[0-9]*"


def found(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the folders of pins of any release, none if they are in no BPF file system. Raises OSError."""
    there = [each for each in sorted(folder.glob(_LAYOUTS)) if each.is_dir() and not each.is_symlink()]
    return [each for each in there if programs.is_filesystem(each)]


def remove(folder: pathlib.Path) -> None:
    """End everything that is pinned for Services: links and with them programs, and maps. The folder goes too, unless
    somebody else has something in it. Raises OSError."""
    for each in found(folder):
        shutil.rmtree(each)
    with contextlib.suppress(OSError):
        folder.rmdir()
