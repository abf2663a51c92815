"""Errors about VFs, each with a remedy for the person who reads it.

    SriovError              message and remedy
    ├── DeviceError         the PCI address does not name a VF that can be handed out
    │   └── DriverError           … since its driver was changed while a pod had it
    ├── SettingError        a setting has a value that cannot be honoured
    │   └── UnsupportedError      … by this VF's driver
    ├── NetnsError          the namespace is missing or is no network namespace
    ├── NameTakenError      the pod has an interface of that name
    ├── BusyError           another owner holds the VF, or it is not ready; try again later
    ├── UncleanError        a VF is back in the host, and a setting of its last owner cannot be removed
    ├── LedgerError         the run directory cannot be read or written
    └── KernelError         the kernel refused a request; carries its errno

A subclass exists only if some code catches it: the CNI plugin gives each its own error code (CNI spec, "Error").
"""

import errno as errnos
import os


class SriovError(Exception):
    """One failure: what is wrong (naming the thing and the value) and what the user can do about it.

    The library knows no program's flags: the program that has one for the value adds that to `remedy`.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class DeviceError(SriovError):
    """The PCI address is malformed, absent, a PF, or not an SR-IOV VF."""


class DriverError(DeviceError):
    """The VF had a netdev when its owner got it, and its present driver gives it none."""


class SettingError(SriovError):
    """A VF setting is out of range or contradicts another setting."""


class UnsupportedError(SettingError):
    """The VF's driver does not support what was asked."""


class NetnsError(SriovError):
    """The network namespace does not exist or is something else."""


class NameTakenError(SriovError):
    """The pod has an interface, or an altname, with the name that the VF was to get."""


class BusyError(SriovError):
    """The VF is held by another attachment, or the hardware is not ready yet."""


class UncleanError(SriovError):
    """The VF is back in the host, but differs from what it was: no pod gets it."""


class LedgerError(SriovError):
    """The ledger's directory is unusable or a record is damaged."""


class KernelError(SriovError):
    """The kernel refused a netlink request. `errno` is positive, as in the errno module."""

    def __init__(self, request: str, errno: int, remedy: str = "") -> None:
        name = errnos.errorcode.get(errno, str(errno))
        super().__init__(f"the kernel refused to {request}: {os.strerror(errno)} ({name})", remedy)
        self.request = request
        self.errno = errno
