"""Link messages, requests and answers: most of what an attachment exchanges with the kernel. Pure; part of netlink.

Of a link's sixty attributes an attachment needs six. pyroute2 makes an object of each, which costs a pod more than the
request itself (0.13 ms of 0.17), and as much again to build a request. Attributes: include/uapi/linux/if_link.h.
"""

import socket
import struct

from sriov.linux import kernel, netns, nlsocket

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_INTEGER = struct.Struct("=I")
_LINKINFO, _INFO_KIND, _INFO_DATA, _PEER = 18, 1, 2, 1  # IFLA_LINKINFO and in it; VETH_INFO_PEER in linux/veth.h
_AF_SPEC, _ADDR_GEN_MODE = 26, 8  # IFLA_AF_SPEC, IFLA_INET6_ADDR_GEN_MODE
_ADDRESS, _IFNAME, _MTU, _MASTER, _NET_NS_FD, _EXT_MASK, _PROP_LIST, _ALT_IFNAME = 1, 3, 4, 10, 28, 29, 52, 53
_PARENT, _PARENT_BUS = 56, 57  # IFLA_PARENT_DEV_NAME, IFLA_PARENT_DEV_BUS_NAME
FLAGS = {"up": 0x1, "promisc": 0x100, "allmulti": 0x200, "noarp": 0x80}  # IFF_*, include/uapi/linux/if.h
_RUNNING = 0x40  # IFF_RUNNING, which nobody can set


def shown(message: bytes) -> kernel.Link:
    """Read a link from the kernel's message."""
    _, _, index, flags, _ = _LINK.unpack_from(message, nlsocket.HEADER.size)
    found = dict(nlsocket.attributes(message, nlsocket.HEADER.size + _LINK.size))
    altnames = nlsocket.attributes(found[_PROP_LIST], 0) if _PROP_LIST in found else ()
    return kernel.Link(
        index=index,
        name=_text(found[_IFNAME]),
        address=found.get(_ADDRESS, b"").hex(":"),
        mtu=_INTEGER.unpack(found[_MTU])[0],
        up=bool(flags & FLAGS["up"]),
        parent=_text(found[_PARENT]) if found.get(_PARENT_BUS) == b"pci\0" else None,
        altnames=tuple(_text(value) for kind, value in altnames if kind == _ALT_IFNAME),
        promisc=bool(flags & FLAGS["promisc"]),
        allmulti=bool(flags & FLAGS["allmulti"]),
        noarp=bool(flags & FLAGS["noarp"]),
        running=bool(flags & _RUNNING),
        enslaved=_MASTER in found,
        kind=_text(dict(nlsocket.attributes(found[_LINKINFO], 0)).get(_INFO_KIND, b"")) if _LINKINFO in found else "",
    )


def pair(here: kernel.End, there: kernel.End, target: netns.Netns) -> bytes:
    """Build the request that makes a veth pair, one end of it in another namespace from the start."""
    moved = nlsocket.attribute(_NET_NS_FD, _INTEGER.pack(target.fd))
    data = nlsocket.attribute(_PEER | nlsocket.NESTED, _end(there) + moved)
    kind = nlsocket.attribute(_INFO_KIND, b"veth\0") + nlsocket.attribute(_INFO_DATA | nlsocket.NESTED, data)
    return _end(here) + nlsocket.attribute(_LINKINFO | nlsocket.NESTED, kind)


def _end(end: kernel.End) -> bytes:
    return _about(end.name) + nlsocket.attribute(_ADDRESS, bytes.fromhex(end.address.replace(":", "")))


def whole(index: int) -> bytes:
    return _about(index)


def show(ref: kernel.LinkRef | None, mask: int) -> bytes:
    """Build the request for one link, or for all; `mask` selects the parts of the answer (RTEXT_FILTER_*)."""
    return _about(ref) + nlsocket.attribute(_EXT_MASK, _INTEGER.pack(mask))


def change(ref: kernel.LinkRef, wanted: kernel.Change) -> bytes:
    """Build the request that makes the whole change."""
    asked = {bit: on for name, bit in FLAGS.items() if (on := getattr(wanted, name)) is not None}
    request = _about(ref, sum(bit for bit, on in asked.items() if on), sum(asked))
    if wanted.address is not None:
        request += nlsocket.attribute(_ADDRESS, bytes.fromhex(wanted.address.replace(":", "")))
    if wanted.mtu is not None:
        request += nlsocket.attribute(_MTU, _INTEGER.pack(wanted.mtu))
    if wanted.link_local is not None:
        mode = nlsocket.attribute(_ADDR_GEN_MODE, bytes([not wanted.link_local]))  # IN6_ADDR_GEN_MODE_EUI64 or _NONE
        inet6 = nlsocket.attribute(socket.AF_INET6 | nlsocket.NESTED, mode)
        request += nlsocket.attribute(_AF_SPEC | nlsocket.NESTED, inet6)
    return request


def rename(index: int, name: str) -> bytes:
    return _about(index) + _named(_IFNAME, name)


def move(index: int, target: netns.Netns, name: str, wanted: kernel.Change) -> bytes:
    """Build a move with change and rename; their order here does not count (do_setlink() in net/core/rtnetlink.c)."""
    moved = nlsocket.attribute(_NET_NS_FD, _INTEGER.pack(target.fd))
    return change(index, wanted) + moved + _named(_IFNAME, name)


def drop_altname(index: int, name: str) -> bytes:
    return _about(index) + nlsocket.attribute(_PROP_LIST | nlsocket.NESTED, _named(_ALT_IFNAME, name))


def _about(ref: kernel.LinkRef | None, flags: int = 0, mask: int = 0) -> bytes:
    """Build the start of a request, which names its link by index or by attribute."""
    index = ref if isinstance(ref, int) else 0
    head = _LINK.pack(socket.AF_UNSPEC, 0, index, flags, mask)
    return head + _named(_IFNAME, ref) if isinstance(ref, str) else head


def _named(kind: int, name: str) -> bytes:
    return nlsocket.attribute(kind, name.encode() + b"\0")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("ascii", "replace")
