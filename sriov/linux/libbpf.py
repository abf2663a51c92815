"""Client of libbpf: an object file of cgroup programs, loaded, pinned, and attached.

The library makes the system calls and knows what each kernel can do.
"""

import contextlib
import ctypes
import os
import pathlib
from collections.abc import Iterable, Iterator

from sriov import errors
from sriov.linux.bpf import library, maps

CGROUP_SOCK_ADDR = 18  # BPF_PROG_TYPE_CGROUP_SOCK_ADDR
ATTACH_TYPES = {
    "connect4": 10,
    "connect6": 11,
    "sendmsg4": 14,
    "sendmsg6": 15,
    "recvmsg4": 19,
    "recvmsg6": 20,
    "getpeername4": 29,
    "getpeername6": 30,
}
"""By hook, enum bpf_attach_type in include/uapi/linux/bpf.h."""
_EFFECTIVE = 1  # BPF_F_QUERY_EFFECTIVE
_MOST = 64  # BPF_CGROUP_MAX_PROGS
_BPF_FS_MAGIC = 0xCAFE4A11  # include/uapi/linux/magic.h
_U32 = ctypes.c_uint32
_libc = ctypes.CDLL(None, use_errno=True)


class Object:
    """The programs and maps of an object file, in the kernel until close(), and as long as something pins them."""

    _object: int | None

    def __init__(self, file: pathlib.Path, pins: pathlib.Path, constants: dict[str, bytes]) -> None:
        """Load it; maps are pinned in the folder `pins`, and those that are pinned there already are taken over.

        `constants` are contents of the sections that hold them. Raises SriovError if the kernel takes them not.
        """
        self._library = library.opened()
        self._calls = self._library.calls
        self._object = self._calls.bpf_object__open_file(os.fsencode(file), None)
        if not self._object:
            raise _refused(file, "it is no object file of BPF programs", self._library.said)
        try:
            for each in self._each("map"):
                self._prepare(each, pins, constants)
            library.check(self._calls.bpf_object__load(self._object))
        except OSError as error:
            self.close()
            raise _refused(file, f"the kernel refuses it: {error.strerror}", self._library.said) from error

    def _prepare(self, each: int, pins: pathlib.Path, constants: dict[str, bytes]) -> None:
        name = self._calls.bpf_map__name(each).decode()
        if not self._calls.bpf_map__is_internal(each):
            library.check(self._calls.bpf_map__set_pin_path(each, os.fsencode(pins / name)))
        for section, content in constants.items():
            if name.endswith(section):
                library.check(self._calls.bpf_map__set_initial_value(each, content, len(content)))

    def _each(self, kind: str) -> Iterator[int]:
        following, found = getattr(self._calls, f"bpf_object__next_{kind}"), None
        while (found := following(self._object, found)) is not None:
            yield found

    def map(self, name: str, key: int, value: int) -> maps.Map:
        """Return the map with these lengths in bytes."""
        [found] = [each for each in self._each("map") if self._calls.bpf_map__name(each) == name.encode()]
        return maps.Map(self._calls, self._calls.bpf_map__fd(found), key, value)

    def attach(self, cgroup: int, pins: pathlib.Path) -> None:
        """Attach each program to the hook of its name; a link that is pinned already gets the new program. Raises
        OSError."""
        for each in self._each("program"):
            name = self._calls.bpf_program__name(each).decode()
            self._attach(self._calls.bpf_program__fd(each), cgroup, ATTACH_TYPES[name], pins / name)

    def _attach(self, program: int, cgroup: int, hook: int, pin: pathlib.Path) -> None:
        link = self._calls.bpf_obj_get(os.fsencode(pin))
        if link >= 0:
            with _closing(link):
                library.check(self._calls.bpf_link_update(link, program, None))
            return
        with _closing(library.check(self._calls.bpf_link_create(program, cgroup, hook, None))) as link:
            library.check(self._calls.bpf_obj_pin(link, os.fsencode(pin)))

    def ineffective(self, cgroup: int) -> list[str]:
        """Return the hooks whose programs do not run for processes of the cgroup. Raises OSError."""
        return [
            name
            for each in self._each("program")
            if self._id(self._calls.bpf_program__fd(each))
            not in self._effective(cgroup, ATTACH_TYPES[name := self._calls.bpf_program__name(each).decode()])
        ]

    def _effective(self, cgroup: int, hook: int) -> list[int]:
        ids, count, flags = (_U32 * _MOST)(), _U32(_MOST), _U32()
        asked = self._calls.bpf_prog_query(cgroup, hook, _EFFECTIVE, ctypes.byref(flags), ids, ctypes.byref(count))
        library.check(asked)
        return ids[: count.value]

    def _id(self, program: int) -> int:
        """struct bpf_prog_info begins with type and id."""
        info, length = (_U32 * 64)(), _U32(256)
        library.check(self._calls.bpf_obj_get_info_by_fd(program, info, ctypes.byref(length)))
        return info[1]

    def close(self) -> None:
        if self._object:
            self._calls.bpf_object__close(self._object)
            self._object = None


def is_filesystem(folder: pathlib.Path) -> bool:
    """Whether programs and maps can be pinned in the folder. Raises OSError."""
    found = ctypes.create_string_buffer(256)  # struct statfs begins with f_type, a long
    if _libc.statfs(os.fsencode(folder), found) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int.from_bytes(found.raw[:8], "little") == _BPF_FS_MAGIC


def knows_helper(number: int) -> bool:
    """Whether a program of a socket address may call this helper here. Raises SriovError without libbpf."""
    return bool(library.opened().calls.libbpf_probe_bpf_helper(CGROUP_SOCK_ADDR, number, None) == 1)


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _refused(file: pathlib.Path, why: str, said: Iterable[str]) -> errors.SriovError:
    return errors.SriovError(
        f"{file}: {why} ({'; '.join(said)})", "install the programs and their object file once more"
    )
