"""A netdev's settings as bytes by name: read from the kernel's messages, compared, set back. Pure; part of netlink.

All attributes of a link count, also those of future kernels, except the few that change by themselves or belong to its
place or to the port: a list of what to compare would miss what the next kernel brings. include/uapi/linux/if_link.h.
"""

import socket
import struct
import sys
from collections.abc import Iterator, Set

from sriov.linux import kernel, nlsocket

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_INTEGER = struct.Struct("=I")
_FLAGS = "flags"
_ALTNAMES = "altnames"
XDP = "xdp"
PARENT = "parent"
"""Present if the kernel reports which device a netdev belongs to."""

# What dev_change_flags() in net/core/dev.c takes from user space, except IFF_UP: debug, notrailers, noarp, promisc,
# allmulti, multicast, portsel, automedia, dynamic.
_SETTABLE_FLAGS = 0x04 | 0x20 | 0x80 | 0x100 | 0x200 | 0x1000 | 0x2000 | 0x4000 | 0x8000
MULTICAST = 0x1000

_NAMES = {
    2: "broadcast",
    13: "txqueuelen",
    17: "link mode",
    20: "alias",
    27: "group",
    39: "protodown",
    40: "gso_max_segs",
    41: "gso_max_size",
    43: XDP,
    52: _ALTNAMES,
    55: "protodown reason",
    56: PARENT,
    58: "gro_max_size",
    63: "gso_ipv4_max_size",
    64: "gro_ipv4_max_size",
}
_KINDS = {name: kind for kind, name in _NAMES.items()}
# Not counted as settings, since nobody can set them or they change without anybody doing so. Capabilities, which may
# change with the PF: NUM_TX_QUEUES, NUM_RX_QUEUES, MIN_MTU, MAX_MTU, PARENT_DEV_BUS_NAME, TSO_MAX_SIZE, TSO_MAX_SEGS,
# MAX_PACING_OFFLOAD_HORIZON, NETNS_IMMUTABLE, HEADROOM, TAILROOM. Its place, with its
# master and its listeners, which end with a move: LINK, QDISC, MASTER, LINKINFO, NET_NS_PID, AF_SPEC, PROMISCUITY,
# ALLMULTI, LINK_NETNSID, EVENT, TARGET_NETNSID, PAD, MAP. Traffic and carrier: STATS, OPERSTATE, STATS64, CARRIER,
# CARRIER_CHANGES, CARRIER_UP_COUNT, CARRIER_DOWN_COUNT. The port's: NUM_VF, PHYS_PORT_ID, PHYS_SWITCH_ID,
# PHYS_PORT_NAME, DEVLINK_PORT, DPLL_PIN. What detach restores itself: ADDRESS, IFNAME, MTU, and
# PERM_ADDRESS, which igbvf overwrites (sriov.state.vf_identity).
_CANNOT_BE_SET = {31, 32, 50, 51, 57, 59, 60, 66, 67, 68, 69}
_PLACE = {5, 6, 10, 18, 19, 26, 30, 37, 44, 46, 61, 42, 14}
_TRAFFIC = {7, 16, 23, 33, 35, 47, 48}
_PORTS = {21, 34, 36, 38, 62, 65}
_HOMES = {1, 3, 4, 54}
_NO_SETTINGS = frozenset(_CANNOT_BE_SET | _PLACE | _TRAFFIC | _PORTS | _HOMES)
_ALT_IFNAME = 53
_XDP_FD, _XDP_FLAGS = 1, 3  # IFLA_XDP_*
_XDP_MODES = {5: 0x4, 6: 0x2, 7: 0x8}  # IFLA_XDP_DRV_PROG_ID and its like, to XDP_FLAGS_DRV_MODE and its like
_NONE = b"\xff\xff\xff\xff"  # -1 as a descriptor: no program


def of_link(message: bytes) -> dict[str, bytes]:
    """Return the settings that an answer to RTM_GETLINK shows."""
    _, kind, _, flags, _ = _LINK.unpack_from(message, nlsocket.HEADER.size)
    found = {_FLAGS: _INTEGER.pack(flags & _SETTABLE_FLAGS), "type": struct.pack("=H", kind)}
    for number, value in nlsocket.attributes(message, nlsocket.HEADER.size + _LINK.size):
        if number not in _NO_SETTINGS:
            found[_NAMES.get(number, f"attribute {number}")] = value
    if _ALTNAMES in found:
        found[_ALTNAMES] = b"\0".join(sorted(_altnames(found[_ALTNAMES])))
    return found


def altnames(state: kernel.LinkState) -> frozenset[str]:
    return frozenset(name.decode("ascii", "replace") for name in state.get(_ALTNAMES, b"").split(b"\0") if name)


def with_altnames_of(state: kernel.LinkState, other: kernel.LinkState) -> kernel.LinkState:
    """Return `state` with those altnames of `other` added that it lacks."""
    more = altnames(other) - altnames(state)
    if not more:
        return state
    return {**state, _ALTNAMES: b"\0".join(sorted(name.encode() for name in more | altnames(state)))}


def differing(noted: kernel.LinkState, found: kernel.LinkState) -> frozenset[str]:
    return frozenset(key for key in noted.keys() | found.keys() if noted.get(key) != found.get(key))


def shown(keys: Set[str]) -> str:
    """Return the groups of the keys for people: `features`, and not each part of it."""
    return ", ".join(sorted({group(key) for key in keys}))


def group(key: str) -> str:
    """Return the group that is set together: ethtool's rings are "rings.5" and "rings.8"."""
    return key.partition(".")[0]


def presumed(found: kernel.LinkState) -> dict[str, bytes]:
    """Return what to hold a netdev to that nobody saw before a pod had it: values that pods change, drivers do not."""
    state = {
        key: value for key, value in found.items() if key not in (_ALTNAMES, "alias") and not key.startswith("tcx")
    }
    state["group"] = bytes(4)
    if not _is_without_program(found.get(XDP, b"")):
        state[XDP] = nlsocket.attribute(2, b"\0")  # IFLA_XDP_ATTACHED: XDP_ATTACHED_NONE
    if state["type"] == b"\x01\x00":  # ARPHRD_ETHER
        state["broadcast"] = b"\xff" * 6
        [flags] = _INTEGER.unpack(state[_FLAGS])
        state[_FLAGS] = _INTEGER.pack(flags & ~_SETTABLE_FLAGS | MULTICAST)
    return state


def requests(index: int, key: str, noted: kernel.LinkState, found: kernel.LinkState) -> Iterator[tuple[str, bytes]]:
    """Yield the requests that set one of a link's settings back: each a kind, "set", "add" or "drop", and a body."""
    if key == _FLAGS:
        [wanted], [now] = (_INTEGER.unpack(each[key]) for each in (noted, found))
        yield "set", _LINK.pack(socket.AF_UNSPEC, 0, index, wanted, wanted ^ now)
    elif key == _ALTNAMES:
        for name in altnames(found) - altnames(noted):
            yield "drop", about(index) + _property(name)
        for name in altnames(noted) - altnames(found):
            yield "add", about(index) + _property(name)
    elif key == XDP:
        for mode in _modes(found.get(key, b"")):
            nothing = nlsocket.attribute(_XDP_FD, _NONE) + nlsocket.attribute(_XDP_FLAGS, _INTEGER.pack(mode))
            yield "set", about(index) + nlsocket.attribute(_KINDS[key] | nlsocket.NESTED, nothing)
    elif key in _KINDS:
        value = noted.get(key, b"" if key == "alias" else bytes(4))
        yield "set", about(index) + nlsocket.attribute(_KINDS[key], value)


def xdp_program(state: kernel.LinkState) -> int:
    """Return the id of the XDP program; 0 for none."""
    found = dict(nlsocket.attributes(state.get(XDP, b""), 0))
    return int.from_bytes(found.get(4, b""), sys.byteorder)  # IFLA_XDP_PROG_ID


def about(index: int) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0)


def _altnames(properties: bytes) -> Iterator[bytes]:
    for kind, value in nlsocket.attributes(properties, 0):
        if kind == _ALT_IFNAME:
            yield value.rstrip(b"\0")


def _property(name: str) -> bytes:
    named = nlsocket.attribute(_ALT_IFNAME, name.encode() + b"\0")
    return nlsocket.attribute(_KINDS[_ALTNAMES] | nlsocket.NESTED, named)


def _is_without_program(xdp: bytes) -> bool:
    return not _modes(xdp)


def _modes(xdp: bytes) -> list[int]:
    """Return the modes in which programs are attached."""
    return [_XDP_MODES[kind] for kind, _ in nlsocket.attributes(xdp, 0) if kind in _XDP_MODES]
