"""Network namespaces as handles that own their file descriptor.

A path can be replaced between two uses, and a namespace lives as long as any descriptor of it. So a handle is opened
once, passed along, and closed by its owner.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from sriov import errors

_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h
_NS_GET_NSTYPE = 0xB703  # include/uapi/linux/nsfs.h

_libc = ctypes.CDLL(None, use_errno=True)


class Netns:
    """An open namespace. `fd` stays valid until close(). Use adopt(), open_path() or own() to get a checked one."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: the same for every handle of one namespace."""
        status = os.fstat(self.fd)
        return status.st_dev, status.st_ino

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def adopt(fd: int) -> Netns:
    """Take over a descriptor that another process passed. Closes it and raises NetnsError if it is no network netns."""
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != _CLONE_NEWNET:
        os.close(fd)
        raise errors.NetnsError("the file is not a network namespace", "pass a path such as /run/netns/NAME")
    return Netns(fd)


def open_path(path: str) -> Netns:
    """Open a namespace by path. Raises NetnsError."""
    try:
        # A FIFO planted at the path would block for ever without O_NONBLOCK.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise errors.NetnsError(
            f"cannot open the namespace {path!r}: {error.strerror}", "does the pod exist?"
        ) from error
    return adopt(fd)


def own() -> Netns:
    """Open the namespace that the calling thread is in."""
    return open_path("/proc/thread-self/ns/net")


@contextlib.contextmanager
def entered(namespace: Netns) -> Iterator[None]:
    """Run the calling thread, and it alone, inside `namespace`.

    If the thread cannot come back, it would do the next pod's work in this pod's namespace. So the process then ends
    at once, and the supervisor starts a clean one.
    """
    with own() as home:
        _setns(namespace.fd)
        try:
            yield
        finally:
            try:
                _setns(home.fd)
            except errors.NetnsError as error:
                print(f"leaving the pod's namespace failed, ending the process: {error}", file=sys.stderr, flush=True)
                os._exit(70)


def created() -> Netns:
    """Create a namespace, which lives as long as a descriptor of it. Raises NetnsError."""
    with own() as home, entered(home):  # the way back
        if _libc.unshare(_CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise errors.NetnsError(f"cannot create a network namespace: {reason}", "CAP_SYS_ADMIN is needed")
        return own()


def cookie(namespace: Netns) -> int:
    """Return the number by which BPF programs know the namespace. Raises NetnsError before Linux 5.14."""
    with entered(namespace), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asked:
        try:
            return int.from_bytes(asked.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError as error:
            raise errors.NetnsError(
                f"the kernel gives namespaces no cookie: {error.strerror}", "it needs Linux 5.14 or newer"
            ) from error


def _setns(fd: int) -> None:
    # os.setns exists from Python 3.12 on.
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise errors.NetnsError(f"cannot enter the namespace: {reason}", "CAP_SYS_ADMIN is needed")
