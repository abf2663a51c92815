"""What makes a file on a node ours: its last line, which says so and which version put it there.

A file's name tells nothing, since the plugin that came before us has the same. A line behind the end of a program
changes nothing about it: to Python it is a comment, and the kernel loads what an ELF header names and no more.
"""

import re

from sriov import versions

_LINE = re.compile(rb"\n# Installed by sriov-underlay ([\w.+!-]+); `sriov-underlay uninstall` removes it\.\n\Z")


def version() -> str:
    """Of this program; a checkout that was never installed has none."""
    return versions.installed() or "0+checkout"


def stamped(content: bytes, by: str) -> bytes:
    return content + f"\n# Installed by sriov-underlay {by}; `sriov-underlay uninstall` removes it.\n".encode()


def version_of(content: bytes) -> str | None:
    """The version that put it there; None where the file is somebody else's."""
    found = _LINE.search(content[-200:])
    return found[1].decode() if found else None
