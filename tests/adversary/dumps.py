"""Dump of a VF's whole netdev: the kernel's link attributes, ethtool's family, and programs on its traffic.

Two dumps are compared attribute by attribute. Everything that the kernel itself changes, and that is left out, is here.
"""

import errno
from collections.abc import Mapping

from sriov.linux import netns, nlsocket
from tests.adversary import requests

Dump = Mapping[str, str]
"""Readable names to bytes in hexadecimal, or to the kernel's error."""

_LEFT_OUT = {
    requests.IFNAME: "compared apart",
    requests.IFLINK: "a veth's other end, which a VF does not have",
    7: "IFLA_STATS: what went through it",
    23: "IFLA_STATS64: the same",
    35: "IFLA_CARRIER_CHANGES: a counter, of each time that it went up",
    47: "IFLA_CARRIER_UP_COUNT: the same",
    48: "IFLA_CARRIER_DOWN_COUNT: the same",
    54: "IFLA_PERM_ADDRESS: igbvf overwrites it when it resets its VF (igbvf_reset())",
    37: "IFLA_LINK_NETNSID: where a veth's other end is, as seen from here; a VF has no other end",
    26: "IFLA_AF_SPEC: IPv4's and IPv6's settings, which the kernel makes again at every move into another namespace"
    " (inetdev_event() and addrconf_notify() at NETDEV_REGISTER)",
}
_RUNNING = 0x40 | 0x10000  # IFF_RUNNING, IFF_LOWER_UP: what the link finds, not what is set

_LINK_NAMES = {
    1: "address", 2: "broadcast", 4: "mtu", 6: "qdisc", 10: "master", 13: "txqlen", 14: "map", 16: "operstate",
    17: "linkmode", 20: "alias", 27: "group", 30: "promiscuity", 31: "txqueues", 32: "rxqueues", 33: "carrier",
    39: "proto_down", 40: "gso_max_segs", 41: "gso_max_size", 43: "xdp", 50: "min_mtu", 51: "max_mtu", 52: "altnames",
    58: "gro_max_size", 61: "allmulti", 63: "gso_ipv4_max_size", 64: "gro_ipv4_max_size",
}  # fmt: skip
_ETHTOOL = {
    2: "linkinfo", 4: "linkmodes", 6: "linkstate", 7: "debug", 9: "wol", 11: "features", 13: "privflags", 15: "rings",
    17: "channels", 19: "coalesce", 21: "pause", 23: "eee", 25: "tsinfo", 29: "fec", 34: "module", 36: "pse",
    38: "rss", 39: "plca", 42: "mm", 46: "tsconfig",
}  # fmt: skip
"""ETHTOOL_MSG_*_GET, by number."""


def whole(where: netns.Netns, index: int) -> Dump:
    found = requests.link(where, index)
    dump = {
        f"link {_LINK_NAMES.get(kind, kind)}": value.hex()
        for kind, value in found.attributes.items()
        if kind not in _LEFT_OUT
    }
    dump["link flags"] = hex(found.flags & ~_RUNNING)
    return dump | _of_ethtool(where, index) | _of_tcx(where, index)


def _of_ethtool(where: netns.Netns, index: int) -> dict[str, str]:
    with requests.opened(where, requests.GENERIC) as generic:
        return {f"ethtool {name}": _asked(generic, index, command) for command, name in _ETHTOOL.items()}


def _asked(generic: nlsocket.Socket, index: int, command: int) -> str:
    try:
        [answer] = requests.ethtool(generic, index, command, ack=False)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    # The first attribute has the link's index and name.
    return b"".join(bytes([kind]) + value for kind, value in list(nlsocket.attributes(answer, 0))[1:]).hex()


def _of_tcx(where: netns.Netns, index: int) -> dict[str, str]:
    directions = {"ingress": requests.TCX_INGRESS, "egress": requests.TCX_EGRESS}
    return {
        f"tcx {name}": str(requests.programs_of_tcx(where, index, direction)) for name, direction in directions.items()
    }


def differences(before: Dump, after: Dump, *, but: frozenset[str] = frozenset()) -> list[str]:
    """Return the differences, readable."""
    names = sorted((before.keys() | after.keys()) - but)
    return [
        f"{name}: {before.get(name, 'none')[-64:]} -> {after.get(name, 'none')[-64:]}"
        for name in names
        if before.get(name) != after.get(name)
    ]
