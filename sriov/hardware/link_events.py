"""Link events: wake-ups when the state of some netdev changes, such as its carrier, for which there is no uevent.

An event is a reason to look at sysfs again, never a fact to build on: messages are counted and thrown away unread, so
nothing here parses netlink (rtnetlink(7), RTMGRP_LINK). It needs no capability, and receives only messages of its own
network namespace.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator

from sriov import errors

_ROUTE = 0  # NETLINK_ROUTE
_LINK = 1  # RTMGRP_LINK
_MESSAGE = 65536


def monitor() -> socket.socket:
    """Open a socket that receives link messages from now on. Raises KernelError."""
    try:
        heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _ROUTE)
        heard.bind((0, _LINK))
    except OSError as error:
        raise errors.KernelError("listen to link changes", error.errno or 0) from error
    return heard


async def changes(heard: socket.socket) -> AsyncGenerator[None, None]:
    """Yield once for each time that messages came, without end; closes the socket. Lost messages count as one."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(heard, ready.set)
    try:
        while True:
            await ready.wait()
            _drain(heard)
            ready.clear()
            yield
    finally:
        loop.remove_reader(heard)
        heard.close()


def _drain(heard: socket.socket) -> None:
    with contextlib.suppress(OSError):  # EAGAIN: that was all; ENOBUFS: some were lost, so look all the same
        while heard.recv(_MESSAGE):
            pass
