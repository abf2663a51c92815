"""Writes to sysfs: the few attributes that make VFs and bind them to drivers. `sriov.hardware.sysfs` reads.

Formats: Documentation/ABI/testing/sysfs-bus-pci in the kernel's source. Each write may take as long as a driver takes.
"""

import errno
import os
import pathlib
from typing import Protocol

from sriov import errors

_REMEDIES = {
    errno.EBUSY: "VFs exist already, or one is in use: sriov_numvfs goes from 0 to N and from N to 0",
    errno.ENOENT: "its driver cannot make VFs",
    errno.ENOMEM: "the firmware left no room for them on the PCI bus: its SR-IOV switch, or `pci=realloc`",
    errno.EROFS: "sysfs is read-only here: run it on the host, as root",
    errno.EACCES: "run it as root",
}


class Attributes(Protocol):
    """Writer of sysfs attributes. Raises KernelError with the kernel's errno."""

    def write(self, path: str, value: str) -> None:
        """Write `value`; `path` is below the root of sysfs, as in bus/pci/drivers_probe."""


class Sysfs:
    """The machine's own sysfs."""

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def write(self, path: str, value: str) -> None:
        target = self._root / path
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, f"{value}\n".encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            code = error.errno or errno.EIO
            raise errors.KernelError(f"write {value!r} to {target}", code, _REMEDIES.get(code, "")) from error
