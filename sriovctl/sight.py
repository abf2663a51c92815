"""Paths of the node that can be seen from here: all on the node itself; in a container of the image, those mounted.

Without this, a folder that is only not mounted would be taken for one that the node does not have.
"""

import os
import pathlib
from collections.abc import Mapping

import msgspec

from sriovctl import paths

CONTAINER = "sriovctl"
"""Name of the DaemonSet's container in which everything is mounted."""


class Visibility(msgspec.Struct, frozen=True):
    """`mounts` are the mount points of the image's container; None on the node itself."""

    mounts: frozenset[str] | None = None

    def sees(self, path: pathlib.Path) -> bool:
        """Report whether the node's own is at the path, or would be if it existed. Follows links."""
        if self.mounts is None:
            return True
        real = pathlib.Path(os.path.realpath(path))
        return not self.mounts.isdisjoint(map(str, (real, *real.parents)))

    def sees_namespace(self, path: str) -> bool:
        """Report the same of a namespace's path. The processes that a container's /proc shows are its own."""
        if self.mounts is None or not path.startswith("/") or "\0" in path:
            return True  # no such path is anybody's
        return self.sees(pathlib.Path(path)) and not path.startswith("/proc/")

    def lack(self, path: pathlib.Path) -> str:
        """Return why the node's path cannot be seen, with the remedy; "" if it can."""
        if self.sees(path):
            return ""
        return f"{path} is not mounted in this container; use the container {CONTAINER} of its pod"


def look(where: paths.Places) -> Visibility:
    """Read the mounts. The root is the image's own, so it counts for nothing."""
    if not where.image.exists():
        return Visibility()
    lines = (where.proc / "self/mountinfo").read_text().splitlines()
    return Visibility(frozenset(line.split(" ")[4] for line in lines) - {"/"})


def hidden(sight: Visibility, where: paths.Places) -> Mapping[str, str]:
    """Return what cannot be seen, by what it is about, each with the reason."""
    asked = {
        "configuration": [where.config],
        "policy": [where.policy],
        "policies": [where.policies],
        "kubelet": [where.kubelet / "device-plugins", where.kubelet / "plugins_registry"],
        "pods": [where.pod_resources],
        "daemon": [where.run_dir],
        "predecessor": [where.predecessor],
        "plugin": [where.cni_bin],
        "networks": [where.cni_conf],
        "network managers": [where.etc],
        "kernel": [where.boot],
    }
    lacks = {about: [sight.lack(path) or _closed(path) for path in each] for about, each in asked.items()}
    return {about: each[0] for about, each in lacks.items() if all(each)}


def _closed(path: pathlib.Path) -> str:
    """Return why a folder that is there cannot be listed; "" if it can, or is none."""
    if not path.is_dir() or os.access(path, os.R_OK | os.X_OK):
        return ""
    return f"{path} belongs to another user, who alone may list it; run this on the node as root"
