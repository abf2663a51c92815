"""Rules of nftables by libnftables, the library of nft itself: the one door to it, through ctypes.

What is there is asked of the kernel itself, as that is 30 times quicker and in the kernel's own words.

Debian has it in libnftables1. A command line of nft's is a transaction: all of it is applied or nothing.
"""

import ctypes
import errno
import functools
import itertools
import os
import struct
import threading
from collections.abc import Callable, Iterator

from sriov import errors
from sriov.linux import nlsocket

_LIBRARY = "libnftables.so.1"
_MOST_DESCRIPTORS = 1000
"""The library waits by select(2), which ends the process if its socket's number is 1024 or more."""
_NETFILTER = 12  # NETLINK_NETFILTER, include/uapi/linux/netlink.h
# include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h
_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET_TABLE, _GET_CHAIN, _GET_RULE = _SUBSYSTEM | 1, _SUBSYSTEM | 4, _SUBSYSTEM | 7  # NFT_MSG_*
_GET_SET, _GET_ELEMENTS, _GET_GENERATION = _SUBSYSTEM | 10, _SUBSYSTEM | 13, _SUBSYSTEM | 16
_GET_OBJECT, _GET_FLOWTABLE = _SUBSYSTEM | 19, _SUBSYSTEM | 23
_FAMILY = struct.Struct("=BBH")  # struct nfgenmsg
_ANY, _INET, _NETDEV = 0, 1, 5  # NFPROTO_UNSPEC, NFPROTO_INET, NFPROTO_NETDEV
_FLAGS, _DORMANT = 2, 1  # NFTA_TABLE_FLAGS, NFT_TABLE_F_DORMANT
_TABLE = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_ELEM_LIST_TABLE
_SET = 2  # NFTA_SET_ELEM_LIST_SET
_CHAIN_NAME = 3  # NFTA_CHAIN_NAME
_TABLE_USERDATA, _CHAIN_USERDATA = 6, 12  # NFTA_TABLE_USERDATA, NFTA_CHAIN_USERDATA
_ELEMENTS, _KEY, _VALUE = 3, 1, 1  # NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE
_GENERATION = 1  # NFTA_GEN_ID
_CROWDS = {
    "tables": (_GET_TABLE, 64),
    "chains": (_GET_CHAIN, 1 << 14),
    "sets": (_GET_SET, 1 << 14),
    "objects": (_GET_OBJECT, 1 << 14),
    "flowtables": (_GET_FLOWTABLE, 1 << 10),
}
"""As many as there may be. The library reads them all before each change, whosever they are: a table takes 0.5 MB."""
_one_at_a_time = threading.RLock()
"""The library's parser and its tables of names are not made for several threads."""


@functools.cache
def _library() -> ctypes.CDLL:
    found = ctypes.CDLL(_LIBRARY)
    found.nft_ctx_new.restype = ctypes.c_void_p
    found.nft_ctx_new.argtypes = [ctypes.c_uint32]
    found.nft_ctx_free.argtypes = found.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
    found.nft_ctx_buffer_output.argtypes = found.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
    found.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    found.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return found


def needed(purpose: str) -> None:
    """Raise UnsupportedError if the library is not there."""
    try:
        _library()
    except OSError as error:
        raise errors.UnsupportedError(
            f"{purpose} needs {_LIBRARY}, which is not on this node", "install Debian's libnftables1, or leave it out"
        ) from error


def run(commands: str) -> None:
    """Apply nft's commands in the calling thread's namespace, in one transaction. Raises KernelError."""
    needed("a rule of nftables")
    library = _library()
    with _one_at_a_time:
        _refuse_high_descriptors()
        context = library.nft_ctx_new(0)  # its socket belongs to the thread's namespace
        try:
            library.nft_ctx_buffer_error(context)
            library.nft_ctx_buffer_output(context)
            if library.nft_run_cmd_from_buffer(context, commands.encode()) != 0:
                said = library.nft_ctx_get_error_buffer(context).decode(errors="replace").strip()
                raise errors.KernelError("set rules of nftables", errno.EINVAL, said.split("\n", 1)[0])
        finally:
            _closing.close(functools.partial(_free, context))


def _refuse_high_descriptors() -> None:
    """A new socket gets the lowest number that is free."""
    lowest = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(lowest)
    if lowest >= _MOST_DESCRIPTORS:
        remedy = f"this process has {_MOST_DESCRIPTORS} files open, with which nftables cannot be used: try again"
        raise errors.KernelError("set rules of nftables", errno.EMFILE, remedy)


def refuse_crowd() -> None:
    """Raise SriovError if so much is in the calling thread's namespace that `run` would take minutes, or gigabytes.

    Root in a pod can make that. Raises OSError.
    """
    asked = nlsocket.Socket(_NETFILTER)
    try:
        for what, (kind, most) in _CROWDS.items():
            found = asked.answers(kind, nlsocket.DUMP, _FAMILY.pack(_ANY, 0, 0))
            if sum(1 for _ in itertools.islice(found, most + 1)) > most:
                raise errors.SriovError(
                    f"nftables has more than {most} {what} in the pod's namespace, so its rules there are left as they"
                    " are: root in the pod has made them",
                    "end the pod, or remove them there",
                )
    finally:
        _closing.close(asked.close)


def _free(context: int) -> None:
    _library().nft_ctx_free(context)


class _Closing:
    """Sockets that are closed when it costs nothing.

    Who closes one waits until all that was deleted in its namespace has been freed, which takes the kernel's RCU 10 ms
    and more (nft_rcv_nl_event() in net/netfilter/nf_tables_api.c), and the next move of a netdev waits for what a
    closed socket leaves to RCU. The change itself is in force before that. So they are closed a little later, but not
    more than a hundred: the library ends the process if its socket's number is 1024 or more (select(2)).
    """

    _SECONDS = 0.2
    _MOST = 100

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._is_timed = False

    def close(self, close: Callable[[], None]) -> None:
        """Have it called soon, with the library's lock held."""
        with self._lock:
            self._waiting.append(close)
            oldest = self._waiting.pop(0) if len(self._waiting) > self._MOST else None
            self._time()
        if oldest is not None:
            with _one_at_a_time:
                oldest()

    def _time(self) -> None:
        if self._is_timed or not self._waiting:
            return
        self._is_timed = True
        timer = threading.Timer(self._SECONDS, self._close_all)
        timer.daemon = True
        timer.start()

    def _close_all(self) -> None:
        """Close those that wait now. Each waits, and counts, until it is its turn: that takes long under load."""
        try:
            for _ in range(len(self._waiting)):
                with self._lock:
                    oldest = self._waiting.pop(0) if self._waiting else None
                if oldest is not None:
                    with _one_at_a_time:
                        oldest()
        finally:
            with self._lock:
                self._is_timed = False
                self._time()


_closing = _Closing()


def comment(table: str, chain: str = "") -> str:
    """Return the comment of the calling thread's inet table, or of a chain of it; "" without one, or without the table
    or the chain. Raises OSError."""
    request = _named(_TABLE, table) + (_named(_CHAIN_NAME, chain) if chain else b"")
    try:
        [found] = _asked(_GET_CHAIN if chain else _GET_TABLE, _INET, request)
    except FileNotFoundError:
        return ""
    said = _attributes(found).get(_CHAIN_USERDATA if chain else _TABLE_USERDATA, b"")
    return said[2:].rstrip(b"\0").decode(errors="replace")  # kind and length; neither has anything but a comment


def generation() -> int:
    """Return a number that is another one after each change of nftables in the calling thread's namespace."""
    [found] = _asked(_GET_GENERATION, _ANY, b"")
    return int.from_bytes(_attributes(found)[_GENERATION])


def rules(table: str, most: int, *, netdev: bool = True) -> tuple[bytes, ...]:
    """Return the rules of the inet table of this name, and of the netdev table unless that does not matter, as the
    kernel shows them, in order: no more than the first `most`.

    A table that is switched off has none. A request for all families would end after the first table.
    """
    named = _named(_TABLE, table)
    families = (_INET, _NETDEV) if netdev else (_INET,)
    found = (_dumped(_GET_RULE, each, named) for each in families if not _is_dormant(each, named))
    return tuple(itertools.islice(itertools.chain.from_iterable(found), most))


def _is_dormant(family: int, named: bytes) -> bool:
    try:
        [found] = _asked(_GET_TABLE, family, named)
    except FileNotFoundError:
        return False
    return bool(int.from_bytes(_attributes(found).get(_FLAGS, b"")) & _DORMANT)


def elements(table: str, name: str, most: int) -> frozenset[bytes]:
    """Return the keys in a set of the inet table, no more than `most`; none if there is no such set. Raises OSError."""
    found = _dumped(_GET_ELEMENTS, _INET, _named(_TABLE, table) + _named(_SET, name))
    keys = (_key(each) for part in found for _, each in nlsocket.attributes(_attributes(part).get(_ELEMENTS, b""), 0))
    try:
        return frozenset(itertools.islice(keys, most))
    except FileNotFoundError:
        return frozenset()


def _key(element: bytes) -> bytes:
    """Return b"" of the element that stands for every address (NFT_SET_ELEM_CATCHALL), which has none."""
    return _attributes(_attributes(element).get(_KEY, b"")).get(_VALUE, b"")


def _attributes(data: bytes) -> dict[int, bytes]:
    return dict(nlsocket.attributes(data, 0))


def _named(kind: int, name: str) -> bytes:
    return nlsocket.attribute(kind, name.encode() + b"\0")


def _asked(kind: int, family: int, request: bytes) -> list[bytes]:
    """Return the answers without their headers: attributes."""
    return [*_dumped(kind, family, request, 0)]


def _dumped(kind: int, family: int, request: bytes, flags: int = nlsocket.DUMP) -> Iterator[bytes]:
    """Yield the same as they come: who has enough leaves the rest to the kernel."""
    asked = nlsocket.Socket(_NETFILTER)
    try:
        for each in asked.answers(kind, flags, _FAMILY.pack(family, 0, 0) + request):
            yield each[nlsocket.HEADER.size + _FAMILY.size :]
    finally:
        _closing.close(asked.close)
