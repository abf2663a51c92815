"""Client of libbpf: an object file of cgroup programs, loaded, pinned, and attached.

The library is the machine's (libbpf.so.1, from version 1.0 on), which makes the system calls and knows what each kernel
can do. Source: its libbpf.h and bpf.h, which promise this interface.
"""

import collections
import contextlib
import ctypes
import errno
import functools
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sriov import errors

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
_BATCH = 4096
_WARN = 0  # LIBBPF_WARN
_LAST = 3  # messages
_BPF_FS_MAGIC = 0xCAFE4A11  # include/uapi/linux/magic.h
_libc = ctypes.CDLL(None, use_errno=True)
_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class _Library:
    """libbpf, with the types of what is called. `said` are its last messages. Raises SriovError without libbpf."""

    def __init__(self) -> None:
        try:
            self.calls: Any = ctypes.CDLL("libbpf.so.1", use_errno=True)
        except OSError as error:
            raise errors.SriovError(
                f"no libbpf on this machine: {error}", "install it (Debian: apt-get install libbpf1)"
            ) from error
        for name, result, arguments in _SIGNATURES:
            function = getattr(self.calls, name)
            function.restype, function.argtypes = result, arguments
        self.said: collections.deque[str] = collections.deque(maxlen=_LAST)
        self._hear = _PRINT(self._note)  # libbpf keeps no reference
        self.calls.libbpf_set_print(self._hear)

    def _note(self, level: int, text: bytes, values: int) -> int:
        line = ctypes.create_string_buffer(1024)
        if level <= _WARN:
            _libc.vsnprintf(line, len(line), text, ctypes.c_void_p(values))
            self.said.append(line.value.decode(errors="replace").strip())
        return 0


_P, _I, _U, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_char_p
_COUNT = ctypes.POINTER(_U)
_SIGNATURES: tuple[tuple[str, Any, list[Any]], ...] = (
    ("libbpf_set_print", _P, [_PRINT]),
    ("libbpf_probe_bpf_helper", _I, [_I, _I, _P]),
    ("bpf_object__open_file", _P, [_S, _P]),
    ("bpf_object__load", _I, [_P]),
    ("bpf_object__close", None, [_P]),
    ("bpf_object__next_map", _P, [_P, _P]),
    ("bpf_object__next_program", _P, [_P, _P]),
    ("bpf_map__name", _S, [_P]),
    ("bpf_map__fd", _I, [_P]),
    ("bpf_map__is_internal", ctypes.c_bool, [_P]),
    ("bpf_map__set_pin_path", _I, [_P, _S]),
    ("bpf_map__set_initial_value", _I, [_P, _P, ctypes.c_size_t]),
    ("bpf_program__name", _S, [_P]),
    ("bpf_program__fd", _I, [_P]),
    ("bpf_obj_get", _I, [_S]),
    ("bpf_obj_pin", _I, [_I, _S]),
    ("bpf_link_create", _I, [_I, _I, _I, _P]),
    ("bpf_link_update", _I, [_I, _I, _P]),
    ("bpf_map_update_batch", _I, [_I, _P, _P, _COUNT, _P]),
    ("bpf_map_delete_batch", _I, [_I, _P, _COUNT, _P]),
    ("bpf_map_get_next_key", _I, [_I, _P, _P]),
    ("bpf_map_lookup_elem", _I, [_I, _P, _P]),
    ("bpf_prog_query", _I, [_I, _I, _U, _COUNT, _P, _COUNT]),
    ("bpf_obj_get_info_by_fd", _I, [_I, _P, _COUNT]),
)


@functools.cache
def _library() -> _Library:
    """The process's one: libbpf calls back what it was given last."""
    return _Library()


class Map:
    """A map with keys and values of fixed lengths in bytes. Raises OSError, E2BIG or ENOSPC if it is full."""

    def __init__(self, calls: Any, descriptor: int, key: int, value: int) -> None:
        self._calls, self._descriptor, self._key, self._value = calls, descriptor, key, value

    def update(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries, each at once. After a failure those before it are written."""
        for start in range(0, len(entries), _BATCH):
            part = entries[start : start + _BATCH]
            keys, values = (b"".join(each) for each in zip(*part, strict=True))
            count = _U(len(part))
            _check(self._calls.bpf_map_update_batch(self._descriptor, keys, values, ctypes.byref(count), None))

    def delete(self, keys: Sequence[bytes]) -> None:
        """Remove entries; one that is not there is passed over."""
        left = list(keys)
        while left:
            part = left[:_BATCH]
            count = _U(len(part))
            done = self._calls.bpf_map_delete_batch(self._descriptor, b"".join(part), ctypes.byref(count), None)
            if done < 0 and -done != errno.ENOENT:
                _check(done)
            left = left[count.value + (done < 0) :]

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield what is there; of what changes meanwhile, some."""
        key, found, value = None, ctypes.create_string_buffer(self._key), ctypes.create_string_buffer(self._value)
        while self._calls.bpf_map_get_next_key(self._descriptor, key, found) == 0:
            key = found.raw
            if self._calls.bpf_map_lookup_elem(self._descriptor, key, value) == 0:
                yield key, value.raw


class Object:
    """The programs and maps of an object file, in the kernel until close(), and as long as something pins them."""

    _object: int | None

    def __init__(self, file: pathlib.Path, pins: pathlib.Path, constants: dict[str, bytes]) -> None:
        """Load it; maps are pinned in the folder `pins`, and those that are pinned there already are taken over.

        `constants` are contents of the sections that hold them. Raises SriovError if the kernel takes them not.
        """
        self._library = _library()
        self._calls = self._library.calls
        self._object = self._calls.bpf_object__open_file(os.fsencode(file), None)
        if not self._object:
            raise _refused(file, "it is no object file of BPF programs", self._library.said)
        try:
            for each in self._each("map"):
                self._prepare(each, pins, constants)
            _check(self._calls.bpf_object__load(self._object))
        except OSError as error:
            self.close()
            raise _refused(file, f"the kernel refuses it: {error.strerror}", self._library.said) from error

    def _prepare(self, each: int, pins: pathlib.Path, constants: dict[str, bytes]) -> None:
        name = self._calls.bpf_map__name(each).decode()
        if not self._calls.bpf_map__is_internal(each):
            _check(self._calls.bpf_map__set_pin_path(each, os.fsencode(pins / name)))
        for section, content in constants.items():
            if name.endswith(section):
                _check(self._calls.bpf_map__set_initial_value(each, content, len(content)))

    def _each(self, kind: str) -> Iterator[int]:
        following, found = getattr(self._calls, f"bpf_object__next_{kind}"), None
        while (found := following(self._object, found)) is not None:
            yield found

    def map(self, name: str, key: int, value: int) -> Map:
        """Return the map with these lengths in bytes."""
        [found] = [each for each in self._each("map") if self._calls.bpf_map__name(each) == name.encode()]
        return Map(self._calls, self._calls.bpf_map__fd(found), key, value)

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
                _check(self._calls.bpf_link_update(link, program, None))
            return
        with _closing(_check(self._calls.bpf_link_create(program, cgroup, hook, None))) as link:
            _check(self._calls.bpf_obj_pin(link, os.fsencode(pin)))

    def ineffective(self, cgroup: int) -> list[str]:
        """Return the hooks whose programs do not run for processes of the cgroup. Raises OSError."""
        return [
            name
            for each in self._each("program")
            if self._id(self._calls.bpf_program__fd(each))
            not in self._effective(cgroup, ATTACH_TYPES[name := self._calls.bpf_program__name(each).decode()])
        ]

    def _effective(self, cgroup: int, hook: int) -> list[int]:
        ids, count, flags = (_U * _MOST)(), _U(_MOST), _U()
        asked = self._calls.bpf_prog_query(cgroup, hook, _EFFECTIVE, ctypes.byref(flags), ids, ctypes.byref(count))
        _check(asked)
        return ids[: count.value]

    def _id(self, program: int) -> int:
        """struct bpf_prog_info begins with type and id."""
        info, length = (_U * 64)(), _U(256)
        _check(self._calls.bpf_obj_get_info_by_fd(program, info, ctypes.byref(length)))
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
    return bool(_library().calls.libbpf_probe_bpf_helper(CGROUP_SOCK_ADDR, number, None) == 1)


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check(answer: int) -> int:
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer))
    return answer


def _refused(file: pathlib.Path, why: str, said: Iterable[str]) -> errors.SriovError:
    return errors.SriovError(
        f"{file}: {why} ({'; '.join(said)})", "install the programs and their object file once more"
    )
