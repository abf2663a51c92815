"""Letting a pod's interface have IPv6 addresses, where its namespace has IPv6 switched off for new interfaces."""

import pathlib

from sriov import errors, netns

SYSCTLS = pathlib.Path("/proc/sys/net")
"""Read-only in a container. Whatever the mount, it shows the calling thread's network namespace (proc_sysctl.c)."""


def enable(pod: netns.Netns, name: str, sysctls: pathlib.Path = SYSCTLS) -> None:
    """Clear `disable_ipv6` of this interface and of lo, as the reference plugins do (pkg/ipam/ipam_linux.go).

    `name` becomes part of a path: one that may be a folder's alias there is no interface's (skel.py).
    Raises UnsupportedError where the sysctl cannot be written.
    """
    with netns.entered(pod):
        for each in ("lo", name):
            path = sysctls / "ipv6/conf" / each / "disable_ipv6"
            try:
                if path.read_text().strip() != "0":
                    path.write_text("0")
            except OSError as error:
                raise errors.UnsupportedError(
                    f"IPv6 is switched off in the pod, and {path} cannot be changed: {error.strerror}",
                    "leave IPv6 addresses out, or name a /proc/sys/net that can be written with --net-sysctls",
                ) from error
