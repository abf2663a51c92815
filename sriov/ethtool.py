"""ethtool's netlink family: a netdev's settings read as bytes, and set back. Part of the door that is netlink.

pyroute2 0.9 knows two of these messages, rings and wol, which take it 1.7 ms of CPU on a veth; the whole look of a DEL
takes 0.15 here. Source: Documentation/networking/ethtool-netlink.rst, include/uapi/linux/ethtool_netlink.h.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Set

from sriov import kernel, nlsocket

GENERIC = 16  # NETLINK_GENERIC
_CONTROL, _GETFAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2  # include/uapi/linux/genetlink.h
_HEADER = struct.Struct("=BBxx")  # struct genlmsghdr
_PAYLOAD = nlsocket.HEADER.size + _HEADER.size
_INTEGER = struct.Struct("=I")
_INDEX, _FLAGS, _COMPACT = 1, 3, 1  # ETHTOOL_A_HEADER_DEV_INDEX, _FLAGS; ETHTOOL_FLAG_COMPACT_BITSETS

# What a netdev's holder can set, by the message that asks; the next higher number sets it, and RSS has its own. What
# is the port's (link modes, FEC, module, PHY) is left out: it is the PF's to set, and changes with the cable.
MESSAGES = {
    "debug": 7,
    "wol": 9,
    "features": 11,
    "private flags": 13,
    "channels": 17,
    "rings": 15,
    "coalesce": 19,
    "pause": 21,
    "eee": 23,
    "rss": 38,
    "timestamping": 46,
}
_SETTING = {name: number + 1 for name, number in MESSAGES.items()} | {"rss": 48}
# Attributes of attributes, which the kernel wants marked as such when they are set: bitsets, a clock's name.
_NESTED = frozenset(
    {"debug.2", "wol.2", "private flags.2", "eee.2", "timestamping.2", "timestamping.3", "timestamping.4"}
)
# What a netdev can do, or is doing, beside what it was told: the most of rings and channels, features that exist or are
# fixed, the peer's part of EEE, counters of pause frames.
_NO_SETTINGS = frozenset(
    {f"rings.{kind}" for kind in (2, 3, 4, 5, 16, 18)}
    | {f"channels.{kind}" for kind in (2, 3, 4, 5)}
    | {"features.2", "features.5", "eee.3", "eee.4", "pause.5", "pause.6"}
)
_FEATURES, _WANTED = "features", 3  # ETHTOOL_A_FEATURES_WANTED
_SIZE, _VALUE, _MASK = 2, 4, 5  # ETHTOOL_A_BITSET_*
# The one thing that only the older ioctl tells: how many rules steer flows (SIOCETHTOOL, ETHTOOL_GRXCLSRLCNT, struct
# ethtool_rxnfc in include/uapi/linux/ethtool.h).
FLOW_RULES = "flow rules"
_SIOCETHTOOL, _COUNT_RULES, _RXNFC_SIZE, _RULES_AT = 0x8946, 0x2E, 192, 184
_SILENT = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.ENETDOWN})


class Ethtool:
    """Of the namespace that the calling thread is in. Belongs to one thread. OSError where the kernel has none."""

    def __init__(self) -> None:
        self._socket = nlsocket.Socket(GENERIC)
        self._older = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            body = _HEADER.pack(_GETFAMILY, 1) + nlsocket.attribute(_FAMILY_NAME, b"ethtool\0")
            [answer] = self._socket.ask(_CONTROL, 0, body)
            found = dict(nlsocket.attributes(answer, _PAYLOAD))
            self._family = int(struct.unpack("=H", found[_FAMILY_ID])[0])
            undo.pop_all()

    def close(self) -> None:
        self._socket.close()
        self._older.close()

    def flow_rules(self, name: str) -> dict[str, bytes]:
        """How many rules steer this link's flows to queues, where its driver has such rules."""
        asked = ctypes.create_string_buffer(struct.pack("=I", _COUNT_RULES), _RXNFC_SIZE)
        request = struct.pack("=16sQ16x", name.encode(), ctypes.addressof(asked))  # struct ifreq
        try:
            fcntl.ioctl(self._older, _SIOCETHTOOL, request)
        except OSError as error:
            if error.errno not in _SILENT:
                raise
            return {}
        return {FLOW_RULES: asked.raw[_RULES_AT : _RULES_AT + 4]}

    def settings(self, index: int, messages: Set[str] | None) -> dict[str, bytes]:
        """By message and attribute, as "rings.5". `messages` are those to ask for, all where None."""
        found: dict[str, bytes] = {}
        for name in MESSAGES if messages is None else messages & MESSAGES.keys():
            found |= {
                key: value for kind, value in self._read(name, index) if (key := f"{name}.{kind}") not in _NO_SETTINGS
            }
        return found

    def set(self, index: int, name: str, noted: kernel.LinkState, found: kernel.LinkState) -> None:
        """Set back what differs of one message. Raises OSError where the driver refuses."""
        keys = {key for key in noted if key.partition(".")[0] == name and noted[key] != found.get(key)}
        body = _wanted(noted, found) if name == _FEATURES else _attributes(noted, keys)
        if body:
            request = _HEADER.pack(_SETTING[name], 1) + _about(index) + body
            self._socket.ask(self._family, nlsocket.ACK, request)

    def _read(self, name: str, index: int) -> Iterator[tuple[int, bytes]]:
        """What a driver does not have has no settings."""
        try:
            [answer] = self._socket.ask(self._family, 0, _HEADER.pack(MESSAGES[name], 1) + _about(index))
        except OSError as error:
            if error.errno == errno.ENODEV:
                # Of a link that is there: its driver has detached it for a moment, as while it resets
                # (ethnl_ops_begin() in net/ethtool/netlink.c). That it says nothing now is not what it is like.
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY)) from error
            if error.errno not in _SILENT:
                raise
            return
        for kind, value in nlsocket.attributes(answer, _PAYLOAD):
            if kind != 1:  # the header, which says whose they are
                yield kind, value


def _about(index: int) -> bytes:
    device = nlsocket.attribute(_INDEX, _INTEGER.pack(index)) + nlsocket.attribute(_FLAGS, _INTEGER.pack(_COMPACT))
    return nlsocket.attribute(1 | nlsocket.NESTED, device)


def _attributes(noted: kernel.LinkState, keys: Set[str]) -> bytes:
    """As they were read: what a message asks for has the form of what another sets."""
    return b"".join(nlsocket.attribute(_kind(key), noted[key]) for key in sorted(keys, key=_kind))


def _kind(key: str) -> int:
    return int(key.partition(".")[2]) | (nlsocket.NESTED if key in _NESTED else 0)


def _wanted(noted: kernel.LinkState, found: kernel.LinkState) -> bytes:
    """Features are asked for with a mask of those that are to change; the kernel refuses one that nobody can set."""
    key = f"{_FEATURES}.{_WANTED}"
    was, now = (dict(nlsocket.attributes(each.get(key, b""), 0)) for each in (noted, found))
    if _VALUE not in was or _VALUE not in now or was == now:
        return b""
    mask = bytes(one ^ other for one, other in zip(was[_VALUE], now[_VALUE], strict=True))
    bits = ((_SIZE, was[_SIZE]), (_VALUE, was[_VALUE]), (_MASK, mask))
    return nlsocket.attribute(_WANTED | nlsocket.NESTED, b"".join(nlsocket.attribute(*each) for each in bits))
