"""Rules of nftables by libnftables, the library of nft itself: the one door to it, through ctypes.

Only the comment of a table is asked of the kernel itself, as that is 30 times quicker.

Debian has it in libnftables1. A command line of nft's is a transaction: all of it is applied or nothing.
"""

import contextlib
import ctypes
import errno
import functools
import struct
import threading

from sriov import errors
from sriov.linux import nlsocket

_LIBRARY = "libnftables.so.1"
_NETFILTER = 12  # NETLINK_NETFILTER, include/uapi/linux/netlink.h
# include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h
_GET_TABLE = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
_FAMILY = struct.Struct("=BBH")  # struct nfgenmsg
_INET = 1  # NFPROTO_INET
_NAME, _USERDATA = 1, 6  # NFTA_TABLE_NAME, NFTA_TABLE_USERDATA
_one_at_a_time = threading.Lock()
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
            library.nft_ctx_free(context)


def comment(table: str) -> str:
    """Return the comment of the calling thread's inet table; "" without one, or without the table. Raises OSError."""
    request = _FAMILY.pack(_INET, 0, 0) + nlsocket.attribute(_NAME, table.encode() + b"\0")
    with contextlib.closing(nlsocket.Socket(_NETFILTER)) as asked:
        try:
            [found] = asked.ask(_GET_TABLE, 0, request)
        except FileNotFoundError:
            return ""
    said = dict(nlsocket.attributes(found, nlsocket.HEADER.size + _FAMILY.size)).get(_USERDATA, b"")
    return said[2:].rstrip(b"\0").decode(errors="replace")  # kind and length; a table has nothing but a comment
