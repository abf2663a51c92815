"""libbpf itself, by ctypes: the machine's libbpf.so.1, from version 1.0 on, and the types of the calls that are used.

Source: its libbpf.h and bpf.h, which promise this interface.
"""

import collections
import ctypes
import functools
import os
from typing import Any

from sriov import errors

_WARN = 0  # LIBBPF_WARN
_LAST = 3  # messages
_libc = ctypes.CDLL(None, use_errno=True)
_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class Library:
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
    ("bpf_map_lookup_batch", _I, [_I, _P, _P, _P, _P, _COUNT, _P]),
    ("bpf_map_update_batch", _I, [_I, _P, _P, _COUNT, _P]),
    ("bpf_map_delete_batch", _I, [_I, _P, _COUNT, _P]),
    ("bpf_map_get_next_key", _I, [_I, _P, _P]),
    ("bpf_map_lookup_elem", _I, [_I, _P, _P]),
    ("bpf_prog_query", _I, [_I, _I, _U, _COUNT, _P, _COUNT]),
    ("bpf_obj_get_info_by_fd", _I, [_I, _P, _COUNT]),
)


@functools.cache
def opened() -> Library:
    """The process's one: libbpf calls back what it was given last."""
    return Library()


def check(answer: int) -> int:
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer))
    return answer
