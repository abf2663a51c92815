"""A BPF map in the kernel, by libbpf."""

import ctypes
import errno
from collections.abc import Iterator, Sequence
from typing import Any

from sriov.linux.bpf import library

_BATCH = 4096


class Map:
    """A map with keys and values of fixed lengths in bytes. Raises OSError, E2BIG or ENOSPC if it is full."""

    def __init__(self, calls: Any, descriptor: int, key: int, value: int) -> None:
        self._calls, self._descriptor, self._key, self._value = calls, descriptor, key, value

    def update(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries, each at once. After a failure those before it are written."""
        for start in range(0, len(entries), _BATCH):
            part = entries[start : start + _BATCH]
            keys, values = (b"".join(each) for each in zip(*part, strict=True))
            count = ctypes.c_uint32(len(part))
            library.check(self._calls.bpf_map_update_batch(self._descriptor, keys, values, ctypes.byref(count), None))

    def delete(self, keys: Sequence[bytes]) -> None:
        """Remove entries; one that is not there is passed over."""
        left = list(keys)
        while left:
            part = left[:_BATCH]
            count = ctypes.c_uint32(len(part))
            done = self._calls.bpf_map_delete_batch(self._descriptor, b"".join(part), ctypes.byref(count), None)
            if done < 0 and -done != errno.ENOENT:
                library.check(done)
            left = left[count.value + (done < 0) :]

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield what is there; of what changes meanwhile, some."""
        key, found, value = None, ctypes.create_string_buffer(self._key), ctypes.create_string_buffer(self._value)
        while self._calls.bpf_map_get_next_key(self._descriptor, key, found) == 0:
            key = found.raw
            if self._calls.bpf_map_lookup_elem(self._descriptor, key, value) == 0:
                yield key, value.raw

    def copied(self) -> list[tuple[bytes, bytes]]:
        """Return all entries of a hash, in few calls. Raises OSError."""
        keys = ctypes.create_string_buffer(_BATCH * self._key)
        values = ctypes.create_string_buffer(_BATCH * self._value)
        place, first, found = ctypes.create_string_buffer(4), True, list[tuple[bytes, bytes]]()
        while True:
            count = ctypes.c_uint32(_BATCH)
            done = self._calls.bpf_map_lookup_batch(
                self._descriptor, None if first else place, place, keys, values, ctypes.byref(count), None
            )
            if -done != errno.ENOENT:
                library.check(done)
            columns = (_cut(keys, self._key, count.value), _cut(values, self._value, count.value))
            found += zip(*columns, strict=True)
            if done:
                return found
            first = False


def _cut(buffer: ctypes.Array[ctypes.c_char], length: int, count: int) -> list[bytes]:
    read = memoryview(buffer).cast("B")
    return [bytes(read[at : at + length]) for at in range(0, count * length, length)]
