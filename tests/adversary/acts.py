"""Acts of a pod on the VF that it was given, and around it: one table, in which each kind can be switched off.

An act takes the arena, the pod's place, the VF there and a number that chooses among the act's variants. The kernel may
refuse it: that is the pod's bad luck, and the OSError is ignored.
"""

import dataclasses
import functools
import os
from collections.abc import Callable

from sriov import devices
from sriov.linux import netns, nlsocket
from tests.adversary import places, requests

LONG = "a-name-as-long-as-altnames-may-be-" + "x" * 90


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """One act: `where` the VF's link is, and the number that chooses the variant."""

    stage: places.Stage
    place: places.Place
    pci: devices.PciAddress
    index: int
    chosen: int

    @property
    def netns(self) -> netns.Netns:
        return self.place.handle

    def one_of(self, *values: int) -> int:
        return values[self.chosen % len(values)]

    def name(self, *further: str) -> str:
        """Choose a name that something has: the VF's in the host, the PF's, usual ones in pods."""
        own, fallback = self.stage.names[self.pci], devices.fallback_name(self.pci)
        names = (own, self.stage.pf, "eth0", "net1", "net2", fallback, "dev2", "vlan0", *further)
        return names[self.chosen % len(names)]

    @property
    def neighbour(self) -> str:
        """Return another VF's name in the host, where that VF may be absent."""
        return next(name for pci, name in self.stage.names.items() if pci != self.pci)


Act = Callable[[Scene], None]


def _change(scene: Scene, *attributes: bytes, flags: int = 0, mask: int = 0) -> None:
    requests.change(scene.netns, scene.index, *attributes, flags=flags, mask=mask)


def _rename(scene: Scene) -> None:
    _change(scene, requests.text(requests.IFNAME, scene.name("x0")))


def _altname(scene: Scene) -> None:
    requests.add_altname(scene.netns, scene.index, scene.name(LONG))


def _rename_as_neighbour(scene: Scene) -> None:
    _change(scene, requests.text(requests.IFNAME, scene.neighbour))


def _altname_of_neighbour(scene: Scene) -> None:
    requests.add_altname(scene.netns, scene.index, scene.neighbour)


def _mac(scene: Scene) -> None:
    addresses = ("02:66:66:66:aa:01", "52:54:00:00:00:02", "06:00:00:00:00:01")
    address = addresses[scene.chosen % len(addresses)]
    _change(scene, nlsocket.attribute(requests.ADDRESS, bytes.fromhex(address.replace(":", ""))))


def _broadcast(scene: Scene) -> None:
    _change(scene, nlsocket.attribute(requests.BROADCAST, bytes.fromhex("02666666bb01")))


def _alias(scene: Scene) -> None:
    _change(scene, requests.text(requests.IFALIAS, ("mine", "x" * 255)[scene.chosen % 2]))


def _number(kind: int, *values: int) -> Act:
    def act(scene: Scene) -> None:
        _change(scene, requests.number(kind, scene.one_of(*values)))

    return act


def _byte(kind: int, *values: int) -> Act:
    def act(scene: Scene) -> None:
        _change(scene, nlsocket.attribute(kind, bytes([scene.one_of(*values)])))

    return act


def _flag(*bits: int) -> Act:
    """Flip the flag."""

    def act(scene: Scene) -> None:
        bit = scene.one_of(*bits)
        _change(scene, flags=requests.link(scene.netns, scene.index).flags ^ bit, mask=bit)

    return act


def _gso(scene: Scene) -> None:
    kinds = (requests.GSO_MAX_SIZE, requests.GSO_MAX_SEGS, requests.GRO_MAX_SIZE)
    kind = scene.one_of(*kinds, requests.GSO_IPV4_MAX_SIZE, requests.GRO_IPV4_MAX_SIZE)
    _change(scene, requests.number(kind, 2000 if kind != requests.GSO_MAX_SEGS else 3))


def _xdp(mode: int, scene: Scene) -> None:
    requests.attach_xdp(scene.netns, scene.index, mode)


def _xdp_link(scene: Scene) -> None:
    mode = scene.one_of(requests.XDP_NATIVE, requests.XDP_GENERIC)
    scene.stage.held[scene.pci].append(requests.link_xdp(scene.netns, scene.index, mode))


def _tcx(scene: Scene) -> None:
    requests.attach_tcx(scene.netns, scene.index, scene.one_of(requests.TCX_INGRESS, requests.TCX_EGRESS))


def _tcx_link(scene: Scene) -> None:
    direction = scene.one_of(requests.TCX_INGRESS, requests.TCX_EGRESS)
    scene.stage.held[scene.pci].append(requests.link_tcx(scene.netns, scene.index, direction))


def _ethtool(scene: Scene, command: int, *body: bytes) -> None:
    with requests.opened(scene.netns, requests.GENERIC) as generic:
        requests.ethtool(generic, scene.index, command, *body)


def _features(scene: Scene) -> None:
    """Send ETHTOOL_MSG_FEATURES_SET: switch off some that are on, and on some that are off."""
    names = ("tx-tcp-segmentation", "tx-checksum-ip-generic", "rx-gro", "rx-udp-gro-forwarding", "tx-nocache-copy")
    name = names[scene.chosen % len(names)]
    on = [nlsocket.attribute(3, b"")] if name.startswith(("rx-udp", "tx-nocache")) else []
    _ethtool(scene, 12, requests.nested(3, requests.nested(3, requests.nested(1, requests.text(2, name), *on))))


def _channels(scene: Scene) -> None:
    count = scene.one_of(1, 2, 3)
    _ethtool(scene, 18, requests.number(6, count), requests.number(7, count))


def _rings(scene: Scene) -> None:
    _ethtool(scene, 16, requests.number(5, scene.one_of(64, 128)), requests.number(8, 64))


def _coalesce(scene: Scene) -> None:
    _ethtool(scene, 20, requests.number(2, scene.one_of(0, 64)))


def _decoy(kind: str, scene: Scene) -> None:
    """Make a link of the pod's own, under a name that the product might look for."""
    name = scene.name()
    if kind == "veth":
        requests.create_veth(scene.netns, name, f"p{scene.chosen}")
    else:
        requests.create(scene.netns, kind, name)


def _decoy_altname(scene: Scene) -> None:
    """Give another link an altname that the product might look for."""
    requests.create(scene.netns, "bridge", f"b{scene.chosen}")
    index = next(each.index for each in requests.links(scene.netns) if each.name == f"b{scene.chosen}")
    requests.add_altname(scene.netns, index, scene.name())


def _port(scene: Scene) -> None:
    """Make the VF a port of the pod's own bridge."""
    requests.create(scene.netns, "bridge", f"br{scene.chosen}")
    index = next(each.index for each in requests.links(scene.netns) if each.name == f"br{scene.chosen}")
    _change(scene, requests.number(10, index))


def _macvlan(scene: Scene) -> None:
    """Make a link on top of the VF."""
    requests.create(scene.netns, "macvlan", f"mv{scene.chosen}", requests.number(requests.IFLINK, scene.index))


def _child(scene: Scene) -> None:
    """Move the VF on into a namespace that the pod makes and a descriptor keeps; perhaps under another number."""
    child = scene.stage.place(named=False)
    new = 700 + scene.chosen if scene.chosen % 2 else 0
    requests.move(scene.netns, scene.index, child.handle, scene.name(), new)


def _numbers(scene: Scene) -> None:
    """Let the pod's namespace know another, or itself, by a number that the product might use."""
    with places.new_namespace() as other:
        requests.number_namespace(scene.netns, other if scene.chosen % 2 else scene.netns, scene.chosen)


ACTS: dict[str, Act] = {
    "rename": _rename,
    "rename as a neighbour": _rename_as_neighbour,
    "altname": _altname,
    "altname of a neighbour": _altname_of_neighbour,
    "mac": _mac,
    "broadcast": _broadcast,
    "alias": _alias,
    "group": _number(requests.GROUP, 7, 0xFFFFFFFF),
    "mtu": _number(requests.MTU, 68, 999, 1280, 9000),
    "txqueuelen": _number(requests.TXQLEN, 1, 3),
    "link mode": _byte(requests.LINKMODE, 1),
    "operstate": _byte(requests.OPERSTATE, 5),
    "down": _flag(requests.UP),
    "promisc": _flag(0x100),
    "allmulti": _flag(0x200),
    "noarp": _flag(0x80),
    "multicast": _flag(0x1000),
    "debug and other flags": _flag(0x4, 0x20, 0x2000, 0x4000, 0x8000),
    "gso": _gso,
    "xdp native": functools.partial(_xdp, requests.XDP_NATIVE),
    "xdp generic": functools.partial(_xdp, requests.XDP_GENERIC),
    "xdp link": _xdp_link,
    "tcx": _tcx,
    "tcx link": _tcx_link,
    "features": _features,
    "channels": _channels,
    "rings": _rings,
    "coalesce": _coalesce,
    "decoy bridge": functools.partial(_decoy, "bridge"),
    "decoy veth": functools.partial(_decoy, "veth"),
    "decoy altname": _decoy_altname,
    "port": _port,
    "macvlan": _macvlan,
    "child": _child,
    "netns numbers": _numbers,
}

DEEDS = ("kill", "term", "second", "refusal")
"""What happens to a daemon in the middle of a call: SIGKILL, SIGTERM, another daemon on its run directory, a request
that the kernel refuses, before or after it has carried it out."""

FURTHER = {
    "kept": "a pod's namespace loses its path and goes on, kept by a descriptor",
    "stuck": "a VF whose DEL has failed is not offered, wherever it is",
}

_CHOSEN = set(filter(None, os.environ.get("SRIOV_ACTS", "").split(",")))
"""Acts named in SRIOV_ACTS, to try only some: `altname,mac,kill`."""


def is_on(name: str) -> bool:
    return not _CHOSEN or name in _CHOSEN


ON = sorted(filter(is_on, ACTS))
DEEDS_ON = sorted(filter(is_on, DEEDS))
KEPT_ON = (False, True) if is_on("kept") else (False,)


def play(name: str, scene: Scene) -> bool:
    """Report whether the kernel let the pod do it."""
    try:
        ACTS[name](scene)
    except OSError:
        return False
    return True
