"""Marks of network namespaces, which show whether a namespace still exists without holding it.

The kernel numbers namespaces as seen from each other (net/core/net_namespace.c). A number holds no reference, is freed
when its namespace is destroyed and never before, and nobody can change or remove it. The host's number for a pod may
then go to another pod, so the pod also gets a random number for itself: a namespace with the host's number and another
random one is not that pod. Plain netlink: pyroute2 reads these numbers but cannot assign them.
"""

import contextlib
import random
import socket
import struct
import sys

import msgspec

from sriov.linux import netns, nlsocket

# include/uapi/linux/rtnetlink.h and net_namespace.h
_NEWNSID, _GETNSID = 88, 90
_NSID, _FD, _TARGET = 1, 3, 4
_NONE = -1  # NETNSA_NSID_NOT_ASSIGNED

_FAMILY = struct.Struct("=B3x")  # struct rtgenmsg, padded
_ATTRIBUTE = struct.Struct("=HHi")


class Mark(msgspec.Struct, frozen=True):
    """A namespace as the namespace `home` knows it. `number` is home's for it, `own` is the namespace's for itself."""

    home: tuple[int, int]
    number: int
    own: int


def mark(pod: netns.Netns) -> Mark | None:
    """Number `pod` as seen from the calling thread's namespace; None if the kernel cannot be asked about it later."""
    with netns.own() as home, _opened() as here:
        number = _number_of(here, pod)
        if number == _NONE:
            return None
        if _seen(here, number) == _NONE:
            with netns.entered(pod):
                inside = _opened()
            with inside as there:
                _assign(there, pod, random.SystemRandom().getrandbits(31))
        # Before Linux 4.20 the answer is to another question; then no mark is better than one that means nothing.
        own = _seen(here, number)
        return Mark(home.identity, number, own) if own not in (_NONE, number) else None


def is_gone(known: Mark) -> bool:
    """Report whether the namespace is certainly destroyed. False also if that cannot be known."""
    with netns.own() as home:
        if home.identity != known.home:
            return False
    with _opened() as here:
        try:
            return _ask(here, (_NSID, known.number), (_TARGET, known.number)) != known.own
        except FileNotFoundError:
            return True
        except OSError:
            return False


def _number_of(here: nlsocket.Socket, pod: netns.Netns) -> int:
    with contextlib.suppress(OSError):
        if _ask(here, (_FD, pod.fd)) == _NONE:
            _assign(here, pod, _NONE)
        return _ask(here, (_FD, pod.fd))
    return _NONE


def _seen(here: nlsocket.Socket, number: int) -> int:
    try:
        return _ask(here, (_NSID, number), (_TARGET, number))
    except OSError:
        return _NONE


def _assign(here: nlsocket.Socket, pod: netns.Netns, number: int) -> None:
    """Assign the number; -1 lets the kernel choose. A refusal is no error: the next query shows a missing one."""
    with contextlib.suppress(OSError):
        here.ask(_NEWNSID, nlsocket.ACK, _body((_NSID, number), (_FD, pod.fd)))


def _opened() -> contextlib.closing[nlsocket.Socket]:
    """Open a socket of the calling thread's namespace; at once, since the thread may be elsewhere later."""
    return contextlib.closing(nlsocket.Socket(nlsocket.ROUTE))


def _ask(here: nlsocket.Socket, *attributes: tuple[int, int]) -> int:
    """Return the number that the kernel answers with, or -1. Raises OSError if it refuses."""
    [answer] = here.ask(_GETNSID, 0, _body(*attributes))
    found = dict(nlsocket.attributes(answer, nlsocket.HEADER.size + _FAMILY.size))
    return int.from_bytes(found[_NSID], sys.byteorder, signed=True) if _NSID in found else _NONE


def _body(*attributes: tuple[int, int]) -> bytes:
    return _FAMILY.pack(socket.AF_UNSPEC) + b"".join(_ATTRIBUTE.pack(8, name, value) for name, value in attributes)
