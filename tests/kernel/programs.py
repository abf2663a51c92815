"""BPF programs that let everything pass, attached to a netdev as root in a pod can: bpf(2), without a library."""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator

from sriov.linux import nlsocket

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_LOAD, _ATTACH, _DETACH, _CREATE_LINK = 5, 8, 9, 28
TCX_INGRESS, XDP = 46, 37  # BPF_TCX_INGRESS, BPF_XDP
_SCHED_CLS, _XDP_TYPE, _SOCK_ADDR = 3, 6, 18
_ALLOW_MULTI = 2  # BPF_F_ALLOW_MULTI
_libc = ctypes.CDLL(None, use_errno=True)


def _call(command: int, request: bytes) -> int:
    done = int(_libc.syscall(_NUMBERS[os.uname().machine], command, request, len(request)))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def load(place: int) -> int:
    """Load r0 = pass; exit. XDP_PASS is 2, TCX_PASS is 0."""
    return _load(_XDP_TYPE, XDP, 2) if place == XDP else _load(_SCHED_CLS, 0, 0)


def _load(kind: int, expected: int, passing: int) -> int:
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, passing, 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    request = struct.pack(
        "=IIQQIIQII16sII",
        kind,
        2,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        0,
        0,
        0,
        0,
        0,
        b"pass",
        0,
        expected,
    )
    return _call(_LOAD, request)


def attach(program: int, index: int, place: int) -> None:
    """Attach without a link: the program stays although nobody has it open."""
    _call(_ATTACH, struct.pack("=IIIIIIQ", index, program, place, 0, 0, 0, 0))


@contextlib.contextmanager
def in_cgroup(cgroup: int, hook: int) -> Iterator[None]:
    """Have a program at a hook of socket addresses, attached as before there were links; it lets everything pass."""
    program = _load(_SOCK_ADDR, hook, 1)
    try:
        _call(_ATTACH, struct.pack("=IIII", cgroup, program, hook, _ALLOW_MULTI))
        try:
            yield
        finally:
            _call(_DETACH, struct.pack("=IIII", cgroup, program, hook, 0))
    finally:
        os.close(program)


def attach_xdp(program: int, index: int) -> None:
    """Attach XDP as `ip link set xdpgeneric` does: IFLA_XDP with IFLA_XDP_FD and IFLA_XDP_FLAGS."""
    how = nlsocket.attribute(1, struct.pack("=i", program)) + nlsocket.attribute(3, struct.pack("=I", 2))
    with contextlib.closing(nlsocket.Socket(nlsocket.ROUTE)) as route:
        body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + nlsocket.attribute(43 | nlsocket.NESTED, how)
        route.ask(16, nlsocket.ACK, body)  # RTM_NEWLINK


def link(program: int, index: int, place: int) -> int:
    """Attach by a link, held by the returned descriptor. XDP in the kernel's generic way (XDP_FLAGS_SKB_MODE)."""
    return _call(_CREATE_LINK, struct.pack("=IIII16x", program, index, place, 2 if place == XDP else 0))
