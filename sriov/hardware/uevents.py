"""Uevents: the kernel's reports of PCI devices and netdevs that come, go and change. The only user of pyudev.

The monitor listens to the kernel itself (NETLINK_KOBJECT_UEVENT, group 1), not to udevd, which no container has. An
event is a reason to look at sysfs again, never a fact to build on: it may come late, and is lost if the socket
overflows. Netdev events are those of the namespace in which the monitor was opened (kernel lib/kobject_uevent.c).
"""

import asyncio
import contextlib
import errno
import pathlib
import socket
from collections.abc import AsyncGenerator, Mapping

import msgspec
import pyudev

from sriov import devices, errors

SUBSYSTEMS = ("pci", "net", "auxiliary", "infiniband", "vdpa", "uio")


class Event(msgspec.Struct, frozen=True):
    """`action` is add, remove, change, move, bind or unbind; `pci` is the device, or the netdev's device."""

    action: str
    subsystem: str
    pci: devices.PciAddress | None
    name: str


RESCAN = Event("rescan", "", None, "")
"""Events were lost: read everything again."""


class Monitor:
    """Receiver of events from now on. Raises KernelError if the kernel or libudev does not allow it.

    `buffer` is the socket's size in bytes; None is the system's, which holds some hundred events. More needs
    CAP_NET_ADMIN.
    """

    def __init__(self, buffer: int | None = None) -> None:
        try:
            self._monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
            for subsystem in SUBSYSTEMS:
                self._monitor.filter_by(subsystem)
            if buffer is not None:
                self._monitor.set_receive_buffer_size(buffer)
            self._monitor.start()
        except (OSError, ImportError) as error:
            code = getattr(error, "errno", None) or errno.ENOSYS
            raise errors.KernelError("listen to uevents", code, "is libudev1 installed?") from error

    def fileno(self) -> int:
        number: int = self._monitor.fileno()
        return number

    def receive(self) -> Event | None:
        """Return the next event; None if there is none yet. Never waits."""
        try:
            device = self._monitor.poll(0)
        except OSError as error:
            code = error.errno or _pending_error(self.fileno())  # pyudev sees POLLERR and does not ask which
            if code == errno.ENOBUFS:
                return RESCAN
            raise errors.KernelError("receive a uevent", code or errno.EIO) from error
        return None if device is None else parse(dict(device.properties))


async def watch(monitor: Monitor) -> AsyncGenerator[Event, None]:
    """Yield events as they come, without end. Raises KernelError."""
    while True:
        await _readable(monitor.fileno())
        while (event := monitor.receive()) is not None:
            yield event


def parse(properties: Mapping[str, str]) -> Event:
    """Read an event from its variables: ACTION, SUBSYSTEM and DEVPATH, which is relative to sysfs."""
    path = pathlib.PurePath(properties.get("DEVPATH", ""))
    return Event(properties.get("ACTION", ""), properties.get("SUBSYSTEM", ""), _nearest_pci(path), path.name)


def _nearest_pci(path: pathlib.PurePath) -> devices.PciAddress | None:
    for part in reversed(path.parts):
        with contextlib.suppress(errors.DeviceError):
            return devices.pci_address(part)
    return None


def _pending_error(descriptor: int) -> int:
    """Return and clear the socket's error: a netlink socket that overflowed has ENOBUFS (netlink(7))."""
    with socket.fromfd(descriptor, socket.AF_NETLINK, socket.SOCK_RAW) as duplicate:
        return duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
