"""BPF programs that let everything pass, attached to a netdev as root in a pod can: bpf(2), without a library."""

import contextlib
import ctypes
import os
import struct

from sriov.linux import nlsocket

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_LOAD, _ATTACH, _CREATE_LINK = 5, 8, 28
TCX_INGRESS, XDP = 46, 37  # BPF_TCX_INGRESS, BPF_XDP
_SCHED_CLS, _XDP_TYPE = 3, 6
_libc = ctypes.CDLL(None, use_errno=True)


def _call(command: int, request: bytes) -> int:
    done = int(_libc.syscall(_NUMBERS[os.uname().machine], command, request, len(request)))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def load(place: int) -> int:
    """Load r0 = pass; exit. XDP_PASS is 2, TCX_PASS is 0."""
    passing = 2 if place == XDP else 0
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, passing, 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    kind, expected = (_XDP_TYPE, XDP) if place == XDP else (_SCHED_CLS, 0)
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


def attach_xdp(program: int, index: int) -> None:
    """Attach XDP as `ip link set xdpgeneric` does: IFLA_XDP with IFLA_XDP_FD and IFLA_XDP_FLAGS."""
    how = nlsocket.attribute(1, struct.pack("=i", program)) + nlsocket.attribute(3, struct.pack("=I", 2))
    with contextlib.closing(nlsocket.Socket(nlsocket.ROUTE)) as route:
        body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + nlsocket.attribute(43 | nlsocket.NESTED, how)
        route.ask(16, nlsocket.ACK, body)  # RTM_NEWLINK


def link(program: int, index: int, place: int) -> int:
    """Attach by a link, held by the returned descriptor. XDP in the kernel's generic way (XDP_FLAGS_SKB_MODE)."""
    return _call(_CREATE_LINK, struct.pack("=IIII16x", program, index, place, 2 if place == XDP else 0))
