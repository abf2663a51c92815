"""Permanent neighbours, and routing rules by a packet's mark: their messages. Pure; part of netlink.

Sources: include/uapi/linux/neighbour.h and fib_rules.h.
"""

import ipaddress
import socket
import struct
import sys

from sriov.linux import kernel, nlsocket

_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg
_PERMANENT = 0x80  # NUD_PERMANENT
_NDA_DST, _NDA_LLADDR = 1, 2
_RULE = struct.Struct("=BBBBBxxBI")  # struct fib_rule_hdr
_TO_TABLE = 1  # FR_ACT_TO_TBL
_FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE = 6, 10, 15
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def add(index: int, neighbour: kernel.Neighbour) -> bytes:
    head = _NEIGHBOUR.pack(FAMILIES[neighbour.ip.version], index, _PERMANENT, 0, 0)
    address = bytes.fromhex(neighbour.address.replace(":", ""))
    return head + nlsocket.attribute(_NDA_DST, neighbour.ip.packed) + nlsocket.attribute(_NDA_LLADDR, address)


def every() -> bytes:
    return _NEIGHBOUR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)


def shown(message: bytes, index: int) -> kernel.Neighbour | None:
    """Read a neighbour; None if it is not a permanent one of this link."""
    _, link, state, _, _ = _NEIGHBOUR.unpack_from(message, nlsocket.HEADER.size)
    found = dict(nlsocket.attributes(message, nlsocket.HEADER.size + _NEIGHBOUR.size))
    if link != index or not state & _PERMANENT or _NDA_LLADDR not in found:
        return None
    return kernel.Neighbour(ipaddress.ip_address(found[_NDA_DST]), found[_NDA_LLADDR].hex(":"))


def add_rule(rule: kernel.MarkRule) -> bytes:
    numbers = ((_FRA_PRIORITY, rule.priority), (_FRA_FWMARK, rule.mark), (_FRA_TABLE, rule.table))
    head = _RULE.pack(FAMILIES[rule.version], 0, 0, 0, 0, _TO_TABLE, 0)
    return head + b"".join(nlsocket.attribute(kind, struct.pack("=I", number)) for kind, number in numbers)


def every_rule(version: int) -> bytes:
    return _RULE.pack(FAMILIES[version], 0, 0, 0, 0, 0, 0)


def shown_rule(message: bytes, version: int) -> kernel.MarkRule | None:
    """Read a rule; None if it is not about a mark."""
    found = dict(nlsocket.attributes(message, nlsocket.HEADER.size + _RULE.size))
    if _FRA_FWMARK not in found:
        return None
    mark, table, priority = (
        int.from_bytes(found.get(each, b""), sys.byteorder) for each in (_FRA_FWMARK, _FRA_TABLE, _FRA_PRIORITY)
    )
    return kernel.MarkRule(version, mark, table, priority)
