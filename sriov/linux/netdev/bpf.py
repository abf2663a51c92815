"""BPF programs on a netdev, which stay with it from namespace to namespace: listing and removing them.

Part of netlink: rtnetlink shows an XDP program, but cannot remove one that a link holds, and knows nothing of tcx. One
system call by hand, since the libraries that load programs bring a compiler or libbpf. Source: bpf(2) and
include/uapi/linux/bpf.h, union bpf_attr.
"""

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Iterator

_NUMBERS = {"x86_64": 321, "aarch64": 280}  # of bpf(2)
_DETACH, _INFO, _QUERY, _PROGRAM, _LINK, _NEXT_LINK, _DETACH_LINK = 9, 15, 16, 13, 30, 31, 34
ENDS = {"tcx ingress": 46, "tcx egress": 47}
_XDP_LINK = 6  # BPF_LINK_TYPE_XDP
_MOST = 64  # BPF_MPROG_MAX
_libc = ctypes.CDLL(None, use_errno=True)
_NUMBER = _NUMBERS.get(os.uname().machine)
_QUERIED = struct.Struct("=IIIIQI4xQQQQ")  # the part of union bpf_attr that _QUERY fills
_Ids = ctypes.c_uint32 * _MOST


def programs(index: int) -> dict[str, bytes]:
    """Return the ids of the programs at a link's ends, for comparison; none if the kernel has no tcx (before 6.6)."""
    found: dict[str, bytes] = {}
    for name, place in ENDS.items():
        with contextlib.suppress(OSError):
            if _count(index, place):
                ids, _ = _attached(index, place)
                found[name] = struct.pack(f"={len(ids)}I", *ids)
    return found


def take_off_tcx(index: int, name: str) -> None:
    """Remove all programs of that end. Raises OSError."""
    for program, link in zip(*_attached(index, ENDS[name]), strict=True):
        if link:
            _end_link(link)
        else:
            _end_program(index, ENDS[name], program)


def end_xdp_link(index: int, program: int) -> None:
    """End the link that holds this XDP program on the netdev, whoever has it open. Raises OSError.

    A BPF link names a netdev by its index, which counts in the netdev's own namespace, and does not name that
    namespace. If two links have the same index and program, one may be a pod's, so neither is touched (EBUSY).
    """
    found = [link for link in _links() if _is_xdp(link, index, program)]
    if len(found) != 1:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    _end_link(found[0])


def _count(index: int, place: int) -> int:
    """Count the programs; asked without room for their ids, the kernel returns only the count (bpf_mprog_query())."""
    _, answer = _call(_QUERY, _QUERIED.pack(index, place, 0, 0, 0, 0, 0, 0, 0, 0))
    return int(_QUERIED.unpack_from(answer)[5])


def _attached(index: int, place: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the programs, and the links that hold them, 0 for none."""
    ids, links = _Ids(), _Ids()
    request = _QUERIED.pack(index, place, 0, 0, ctypes.addressof(ids), _MOST, 0, ctypes.addressof(links), 0, 0)
    _, answer = _call(_QUERY, request)
    count = _QUERIED.unpack_from(answer)[5]
    return tuple(ids[:count]), tuple(links[:count])


def _end_program(index: int, place: int, program: int) -> None:
    with _opened(_PROGRAM, program) as descriptor:
        _call(_DETACH, struct.pack("=IIIIIIQ", index, descriptor, place, 0, 0, 0, 0))


def _end_link(link: int) -> None:
    with _opened(_LINK, link) as descriptor:
        _call(_DETACH_LINK, struct.pack("=I", descriptor))


def _links() -> Iterator[int]:
    link = 0
    while True:
        try:
            _, answer = _call(_NEXT_LINK, struct.pack("=III", link, 0, 0))
        except FileNotFoundError:
            return
        (link,) = struct.unpack_from("=I", answer, 4)
        yield link


def _is_xdp(link: int, index: int, program: int) -> bool:
    info = ctypes.create_string_buffer(128)
    try:
        with _opened(_LINK, link) as descriptor:
            _call(_INFO, struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(info)))
    except FileNotFoundError:  # it ended meanwhile
        return False
    kind, _, held, where = struct.unpack_from("=IIIxxxxI", info.raw)
    return (kind, held, where) == (_XDP_LINK, program, index)


@contextlib.contextmanager
def _opened(command: int, number: int) -> Iterator[int]:
    descriptor, _ = _call(command, struct.pack("=III", number, 0, 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _call(command: int, request: bytes) -> tuple[int, bytes]:
    if _NUMBER is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    attributes = ctypes.create_string_buffer(request, len(request))
    answer = _libc.syscall(_NUMBER, command, attributes, len(request))
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer, attributes.raw
