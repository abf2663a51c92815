"""Mark of our files on a node: the last line, which names this package and the version that installed the file.

A file's name proves nothing, since the plugin that came before us has the same. A line behind the end of a program
changes nothing about it: Python reads it as a comment, and the kernel loads only what an ELF header names.
"""

import re

from sriov import versions

_LINE = re.compile(rb"\n# Installed by sriov-underlay ([\w.+!-]+); `sriov-underlay uninstall` removes it\.\n\Z")


def version() -> str:
    """Return this program's version; a checkout that was never installed has a placeholder."""
    return versions.installed() or "0+checkout"


def stamped(content: bytes, by: str) -> bytes:
    return content + f"\n# Installed by sriov-underlay {by}; `sriov-underlay uninstall` removes it.\n".encode()


def version_of(content: bytes) -> str | None:
    """Return the version that installed the file; None if it is not ours."""
    found = _LINE.search(content[-200:])
    return found[1].decode() if found else None
