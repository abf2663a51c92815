"""Rules of nftables by libnftables, the library of nft itself: the one door to it, through ctypes.

What is there is asked of the kernel itself, as that is 30 times quicker and in the kernel's own words.

Debian has it in libnftables1. A command line of nft's is a transaction: all of it is applied or nothing.
"""

import ctypes
import errno
import functools
import struct
import threading
from collections.abc import Callable

from sriov import errors
from sriov.linux import nlsocket

_LIBRARY = "libnftables.so.1"
_NETFILTER = 12  # NETLINK_NETFILTER, include/uapi/linux/netlink.h
# include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h
_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET_TABLE, _GET_CHAIN, _GET_RULE = _SUBSYSTEM | 1, _SUBSYSTEM | 4, _SUBSYSTEM | 7  # NFT_MSG_*
_GET_ELEMENTS, _GET_GENERATION = _SUBSYSTEM | 13, _SUBSYSTEM | 16
_FAMILY = struct.Struct("=BBH")  # struct nfgenmsg
_ANY, _INET, _NETDEV = 0, 1, 5  # NFPROTO_UNSPEC, NFPROTO_INET, NFPROTO_NETDEV
_FLAGS, _DORMANT = 2, 1  # NFTA_TABLE_FLAGS, NFT_TABLE_F_DORMANT
_TABLE = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_ELEM_LIST_TABLE
_SET = 2  # NFTA_SET_ELEM_LIST_SET
_CHAIN_NAME = 3  # NFTA_CHAIN_NAME
_TABLE_USERDATA, _CHAIN_USERDATA = 6, 12  # NFTA_TABLE_USERDATA, NFTA_CHAIN_USERDATA
_ELEMENTS, _KEY, _VALUE = 3, 1, 1  # NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE
_GENERATION = 1  # NFTA_GEN_ID
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
        context = library.nft_ctx_new(0)  # its socket belongs to the thread's namespace
        try:
            library.nft_ctx_buffer_error(context)
            library.nft_ctx_buffer_output(context)
            if library.nft_run_cmd_from_buffer(context, commands.encode()) != 0:
                said = library.nft_ctx_get_error_buffer(context).decode(errors="replace").strip()
                raise errors.KernelError("set rules of nftables", errno.EINVAL, said.split("\n", 1)[0])
        finally:
            _closing.close(functools.partial(_free, context))


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


def rules(table: str) -> tuple[bytes, ...]:
    """Return every rule of the inet and netdev tables of this name, as the kernel shows it, in order.

    A table that is switched off has none. A request for all families would end after the first table.
    """
    named = _named(_TABLE, table)
    return tuple(
        each
        for family in (_INET, _NETDEV)
        if not _is_dormant(family, named)
        for each in _asked(_GET_RULE, family, named, nlsocket.DUMP)
    )


def _is_dormant(family: int, named: bytes) -> bool:
    try:
        [found] = _asked(_GET_TABLE, family, named)
    except FileNotFoundError:
        return False
    return bool(int.from_bytes(_attributes(found).get(_FLAGS, b"")) & _DORMANT)


def elements(table: str, name: str) -> frozenset[bytes]:
    """Return the keys in a set of the inet table; none if there is no such set. Raises OSError."""
    try:
        found = _asked(_GET_ELEMENTS, _INET, _named(_TABLE, table) + _named(_SET, name), nlsocket.DUMP)
    except FileNotFoundError:
        return frozenset()
    lists = (_attributes(each).get(_ELEMENTS, b"") for each in found)
    return frozenset(_key(element) for each in lists for _, element in nlsocket.attributes(each, 0))


def _key(element: bytes) -> bytes:
    return _attributes(_attributes(element)[_KEY])[_VALUE]


def _attributes(data: bytes) -> dict[int, bytes]:
    return dict(nlsocket.attributes(data, 0))


def _named(kind: int, name: str) -> bytes:
    return nlsocket.attribute(kind, name.encode() + b"\0")


def _asked(kind: int, family: int, request: bytes, flags: int = 0) -> list[bytes]:
    """Return the answers without their headers: attributes."""
    asked = nlsocket.Socket(_NETFILTER)
    try:
        found = asked.ask(kind, flags, _FAMILY.pack(family, 0, 0) + request)
    finally:
        _closing.close(asked.close)
    return [each[nlsocket.HEADER.size + _FAMILY.size :] for each in found]
