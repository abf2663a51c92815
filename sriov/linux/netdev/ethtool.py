"""ethtool's netlink family: a netdev's settings, read as bytes and set back. Part of netlink.

pyroute2 0.9 knows one of these messages, rings, and makes objects of what is compared as bytes: reading rings and wol
takes it 1.7 ms of CPU on a veth; the whole look of a DEL takes 0.15 ms here.
Source: Documentation/networking/ethtool-netlink.rst, include/uapi/linux/ethtool_netlink.h.
"""

import contextlib
import errno
import os
import struct
from collections.abc import Iterator, Set

from sriov.linux import kernel, nlsocket
from sriov.linux.netdev import ethtool_ioctl

GENERIC = 16  # NETLINK_GENERIC
_CONTROL, _GETFAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2  # include/uapi/linux/genetlink.h
_HEADER = struct.Struct("=BBxx")  # struct genlmsghdr
_PAYLOAD = nlsocket.HEADER.size + _HEADER.size
_INTEGER = struct.Struct("=I")
_INDEX, _FLAGS, _COMPACT = 1, 3, 1  # ETHTOOL_A_HEADER_DEV_INDEX, _FLAGS; ETHTOOL_FLAG_COMPACT_BITSETS

# What a netdev's holder can set, by the number of the message that reads it; the next higher number sets it, except
# for RSS. Settings of the port (link modes, FEC, EEE, pause frames, wake-on-LAN, module, PHY) are left out: the PF sets
# them, VFs show them (mlx5e_ethtool_get_pauseparam() in mellanox/mlx5/core/en_ethtool.c), and a cable changes them.
MESSAGES = {
    "debug": 7,
    "features": 11,
    "private flags": 13,
    "channels": 17,
    "rings": 15,
    "coalesce": 19,
    "rss": 38,
    "timestamping": 46,
}
_SETTING = {name: number + 1 for name, number in MESSAGES.items()} | {"rss": 48}
# Attributes with attributes inside, which the kernel wants marked so when they are set: bitsets, a clock's name.
_NESTED = frozenset({"debug.2", "private flags.2", "timestamping.2", "timestamping.3", "timestamping.4"})
# What a netdev can do, or is doing, and not what it was set to: the maxima of rings and channels; features that exist,
# are fixed, or are in effect, which on iavf and bnxt also follows the VLAN that the PF gives the VF.
_NO_SETTINGS = frozenset(
    {f"rings.{kind}" for kind in (2, 3, 4, 5, 16, 18)}
    | {f"channels.{kind}" for kind in (2, 3, 4, 5)}
    | {"features.2", "features.4", "features.5"}
)
_RSS = "rss"
_FEATURES, _WANTED = "features", 3  # ETHTOOL_A_FEATURES_WANTED
_SIZE, _VALUE, _MASK = 2, 4, 5  # ETHTOOL_A_BITSET_*
_SILENT = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.ENETDOWN})


class Ethtool:
    """Client of the calling thread's namespace. Belongs to one thread. OSError if the kernel has no such family."""

    def __init__(self) -> None:
        self._socket = nlsocket.Socket(GENERIC)
        self._older = ethtool_ioctl.Older()
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

    def settings(self, index: int, name: str, groups: Set[str] | None) -> dict[str, bytes]:
        """Read settings by message and attribute, as "rings.6", and the number of rules, for `groups`; None: for all.

        The messages ask by index, the older interface by name.
        """
        found = self._older.rules(name) if groups is None or ethtool_ioctl.RULES in groups else {}
        for message in MESSAGES if groups is None else groups & MESSAGES.keys():
            read = {f"{message}.{kind}": value for kind, value in self._read(message, index)}
            found |= {key: value for key, value in read.items() if key not in _NO_SETTINGS}
        return found

    def sets(self, group: str) -> bool:
        return group in MESSAGES or group == ethtool_ioctl.RULES

    def set(self, index: int, name: str, group: str, noted: kernel.LinkState, found: kernel.LinkState) -> None:
        """Set back what differs of one message, or drop all rules. Raises OSError if the driver refuses."""
        if group == ethtool_ioctl.RULES:
            self._older.drop_rules(name)
            return
        keys = {key for key in noted if key.partition(".")[0] == group and noted[key] != found.get(key)}
        body = _wanted(noted, found) if group == _FEATURES else _attributes(noted, keys)
        if not body:
            return
        try:
            self._socket.ask(self._family, nlsocket.ACK, _HEADER.pack(_SETTING[group], 1) + _about(index) + body)
        except OSError as error:
            if group != _RSS or error.errno != errno.EOPNOTSUPP:
                raise
            self._older.set_rss(name, noted)  # the message came with Linux 6.17

    def _read(self, name: str, index: int) -> Iterator[tuple[int, bytes]]:
        """Read one message's attributes; none if the driver does not support it."""
        try:
            [answer] = self._socket.ask(self._family, 0, _HEADER.pack(MESSAGES[name], 1) + _about(index))
        except OSError as error:
            if error.errno == errno.ENODEV:
                # The link is there: its driver has detached it for a moment, as while it resets
                # (ethnl_ops_begin() in net/ethtool/netlink.c). No answer now does not mean no settings.
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY)) from error
            if error.errno not in _SILENT:
                raise
            return
        for kind, value in nlsocket.attributes(answer, _PAYLOAD):
            if kind != 1:  # the header, which names the device
                yield kind, value


def _about(index: int) -> bytes:
    device = nlsocket.attribute(_INDEX, _INTEGER.pack(index)) + nlsocket.attribute(_FLAGS, _INTEGER.pack(_COMPACT))
    return nlsocket.attribute(1 | nlsocket.NESTED, device)


def _attributes(noted: kernel.LinkState, keys: Set[str]) -> bytes:
    """Write the attributes as they were read: the setting message has the same form as the answer."""
    return b"".join(nlsocket.attribute(_kind(key), noted[key]) for key in sorted(keys, key=_kind))


def _kind(key: str) -> int:
    return int(key.partition(".")[2]) | (nlsocket.NESTED if key in _NESTED else 0)


def _wanted(noted: kernel.LinkState, found: kernel.LinkState) -> bytes:
    """Write features with a mask of those that are to change; the kernel refuses one that nobody can set."""
    key = f"{_FEATURES}.{_WANTED}"
    was, now = (dict(nlsocket.attributes(each.get(key, b""), 0)) for each in (noted, found))
    if _VALUE not in was or _VALUE not in now or was == now:
        return b""
    mask = bytes(one ^ other for one, other in zip(was[_VALUE], now[_VALUE], strict=True))
    bits = ((_SIZE, was[_SIZE]), (_VALUE, was[_VALUE]), (_MASK, mask))
    return nlsocket.attribute(_WANTED | nlsocket.NESTED, b"".join(nlsocket.attribute(*each) for each in bits))
