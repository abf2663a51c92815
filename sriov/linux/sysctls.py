"""Network sysctls of a namespace."""

import pathlib
from collections.abc import Mapping

from sriov import errors
from sriov.linux import netns


def write(namespace: netns.Netns, wanted: Mapping[str, str], root: pathlib.Path) -> None:
    """Set values by their paths below /proc/sys/net, which `root` is: it shows the calling thread's namespace.

    Whoever calls has checked the names of interfaces in the paths. Raises UnsupportedError if one cannot be written.
    """
    with netns.entered(namespace):
        for name, value in wanted.items():
            try:
                (root / name).write_text(value)
            except OSError as error:
                raise errors.UnsupportedError(
                    f"sysctl net/{name} cannot be set to {value}: {error.strerror}",
                    f"make {root} writable for the daemon",
                ) from error
