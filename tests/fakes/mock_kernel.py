"""Mock kernel: the machine's own, with veths as stand-ins for VF netdevs, for machines without SR-IOV hardware.

Moves, renames, addresses and routes are real. What a PF reports of its VFs is a file that any process may read, except
for the VLAN, which is real: the far end of a VF's veth is in a bridge of that VLAN. The built sysfs tree follows each
move. A veth differs in one thing: it dies with its namespace, where a VF returns (mock_node.bring_home).
"""

import contextlib
import errno
import fcntl
import ipaddress
import pathlib
import secrets
import struct
import sys
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager

import msgspec

from sriov import devices, errors, settings
from sriov.hardware import sysfs
from sriov.linux import kernel, netlink, netns, nlsocket, nsid
from sriov.linux.netdev import netdev_settings
from tests.fakes import sysfs_tree


class Vf(msgspec.Struct, kw_only=True):
    """A VF of the mock: its PF's link index, its own, the veth's far end, and where the veth is now.

    `far_index` is the far end's; 0 if it was not chosen. `address` is its own. `queues` are a veth's in each direction.
    """

    pf: int
    vf: int
    far: str
    index: int
    far_index: int = 0
    address: str = ""
    queues: int = 1
    where: str = "home"
    state: settings.VfSettings = settings.BASELINE


class State:
    """The file that all processes of one mock node share."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.tree = sysfs_tree.SysfsTree(folder / "sys")
        self._path = folder / "vfs.json"

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, Vf]]:
        """Yield the VFs by PCI address under a lock, which covers sysfs too; changes in the block are stored."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            vfs = self.read()
            yield vfs
            draft = self._path.with_suffix(".tmp")  # other processes read without the lock
            draft.write_bytes(msgspec.json.encode(vfs))
            draft.rename(self._path)

    def read(self) -> dict[str, Vf]:
        return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Vf]) if self._path.exists() else {}


def opener(folder: pathlib.Path) -> Callable[[], AbstractContextManager[kernel.Kernel]]:
    """Open requests in the calling thread's namespace, which is the mock's host."""
    state = State(folder)

    @contextlib.contextmanager
    def opened() -> Iterator[kernel.Kernel]:
        with contextlib.closing(netlink.Netlink()) as net:
            yield MockKernel(net, state, "home")

    return opened


class MockKernel:
    """Requests in one namespace; `where` is "home" or a namespace's identity."""

    def __init__(self, net: kernel.Kernel, state: State, where: str) -> None:
        self._net = net
        self._state = state
        self._where = where

    def link(self, ref: kernel.LinkRef) -> kernel.Link:
        return self._with_parent(self._net.link(ref))

    def links(self) -> tuple[kernel.Link, ...]:
        return tuple(map(self._with_parent, self._net.links()))

    def add_pair(self, here: kernel.End, there: kernel.End, target: netns.Netns) -> None:
        self._net.add_pair(here, there, target)

    def delete_link(self, index: int) -> None:
        self._net.delete_link(index)

    def set_link(self, ref: kernel.LinkRef, change: kernel.Change) -> None:
        self._net.set_link(ref, change)
        self._show(self._net.link(ref))

    def rename(self, index: int, name: str) -> None:
        self._net.rename(index, name)
        self._show(self._net.link(index))

    def release_name(self, name: str) -> None:
        index = self._net.link(name).index
        self._net.release_name(name)
        self._show(self._net.link(index))

    def drop_altname(self, index: int, name: str) -> None:
        self._net.drop_altname(index, name)

    def state(self, index: int, known: kernel.LinkState | None = None) -> kernel.LinkState:
        return self.look(index, known)[1]

    def look(self, index: int, known: kernel.LinkState | None = None) -> tuple[kernel.Link, kernel.LinkState]:
        seen, state = self._net.look(index, known)
        link = self._with_parent(seen)
        return link, {**state, **({} if link.parent is None else {netdev_settings.PARENT: link.parent.encode()})}

    def restore(self, index: int, name: str, wanted: kernel.LinkState, found: kernel.LinkState) -> None:
        self._net.restore(index, name, wanted, found)

    def move(self, index: int, target: netns.Netns, name: str, change: kernel.Change = kernel.NOTHING) -> None:
        before = self.link(index)
        try:
            self._net.move(index, target, name, change)
        except errors.KernelError:
            self._follow(before, target, before.name)  # it may have moved all the same
            raise
        self._follow(before, target, name)

    def _follow(self, before: kernel.Link, target: netns.Netns, name: str) -> None:
        """Update the built sysfs to show the link where it is."""
        pci = before.parent
        if pci is None:
            return
        far = self._state.read()[pci].far_index
        with netns.entered(target):
            mine = indices_with_peer(far) if far else []
        with self._net.inside(target) as there:
            link = next((each for each in there.links() if each.index in mine or (not far and each.name == name)), None)
        if link is None:
            return
        with netns.own() as own, self._state.changing() as vfs:
            # A pod's kernel moves only to the host, and the calling thread is always in the host.
            vfs[pci].where = "home" if target.identity == own.identity else str(target.identity)
            vfs[pci].index = link.index
            here = [shown(link)] if vfs[pci].where == "home" else []
            self._state.tree.set_netdev(devices.pci_address(pci), *here)

    def set_vf(self, pf: int, vf: int, wanted: settings.VfSettings, which: Set[settings.Setting]) -> None:
        request = f"set {sorted(each.value for each in which)} on VF {vf} of link {pf}"
        with self._state.changing() as vfs:
            found = _vf_of(request, vfs, pf, vf)
            for setting in which:
                fields = _FIELDS[setting]
                values = {field: getattr(wanted, field) for field in fields}
                found.state = msgspec.structs.replace(found.state, **values)
            vlan = found.state.vlan
        if settings.Setting.VLAN in which:
            plug(found.far, vlan)

    def vf(self, pf: int, vf: int) -> settings.VfSettings:
        return _vf_of(f"show VF {vf} of link {pf}", self._state.read(), pf, vf).state

    def add_address(self, index: int, address: kernel.IpInterface) -> None:
        self._net.add_address(index, address)

    def addresses(self, index: int) -> tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...]:
        return self._net.addresses(index)

    def pending(self, index: int) -> tuple[kernel.IpInterface, ...]:
        return self._net.pending(index)

    def add_route(self, index: int, route: kernel.Route) -> None:
        self._net.add_route(index, route)

    def routes(self, index: int) -> tuple[kernel.Route, ...]:
        return self._net.routes(index)

    def global_addresses(self, without: Set[int] = frozenset()) -> tuple[tuple[int, kernel.IpInterface], ...]:
        return self._net.global_addresses(without)

    def source_to(self, destination: kernel.IpAddress) -> kernel.IpAddress | None:
        return self._net.source_to(destination)

    def add_neighbour(self, index: int, neighbour: kernel.Neighbour) -> None:
        self._net.add_neighbour(index, neighbour)

    def neighbours(self, index: int) -> tuple[kernel.Neighbour, ...]:
        return self._net.neighbours(index)

    def add_rule(self, rule: kernel.MarkRule) -> None:
        self._net.add_rule(rule)

    def rules(self) -> tuple[kernel.MarkRule, ...]:
        return self._net.rules()

    def needs_nft(self, purpose: str) -> None:
        self._net.needs_nft(purpose)

    def nft_comment(self, table: str, chain: str = "") -> str:
        return self._net.nft_comment(table, chain)

    def nft_generation(self) -> int:
        return self._net.nft_generation()

    def nft_rules(self, table: str, most: int, *, netdev: bool = True) -> tuple[bytes, ...]:
        return self._net.nft_rules(table, most, netdev=netdev)

    def nft_elements(self, table: str, name: str, most: int) -> frozenset[bytes]:
        return self._net.nft_elements(table, name, most)

    def run_nft(self, commands: str) -> None:
        self._net.run_nft(commands)

    def rdma_is_exclusive(self) -> bool:
        return self._net.rdma_is_exclusive()

    def rdma_devices(self) -> tuple[kernel.RdmaDevice, ...]:
        return self._net.rdma_devices()

    def move_rdma(self, index: int, target: netns.Netns) -> None:
        self._net.move_rdma(index, target)

    def rename_rdma(self, index: int, name: str) -> None:
        self._net.rename_rdma(index, name)

    @contextlib.contextmanager
    def inside(self, target: netns.Netns) -> Iterator["MockKernel"]:
        with self._net.inside(target) as there:
            yield type(self)(there, self._state, str(target.identity))

    def mark(self, target: netns.Netns) -> nsid.Mark | None:
        return self._net.mark(target)

    def is_gone(self, mark: nsid.Mark) -> bool:
        return self._net.is_gone(mark)

    def _with_parent(self, link: kernel.Link) -> kernel.Link:
        mine = (pci for pci, vf in self._state.read().items() if (vf.where, vf.index) == (self._where, link.index))
        return msgspec.structs.replace(link, parent=next(mine, None))

    def _show(self, link: kernel.Link) -> None:
        pci = self._with_parent(link).parent
        if pci and self._where == "home":
            with self._state.changing():
                self._state.tree.set_netdev(devices.pci_address(pci), shown(link))


_FIELDS: dict[settings.Setting, tuple[str, ...]] = {
    settings.Setting.MAC: ("mac",),
    settings.Setting.VLAN: ("vlan", "qos", "proto"),
    settings.Setting.SPOOFCHK: ("spoofchk",),
    settings.Setting.TRUST: ("trust",),
    settings.Setting.LINK_STATE: ("link_state",),
    settings.Setting.RATE: ("min_tx_rate", "max_tx_rate"),
}


def plug(far: str, vlan: int) -> None:
    """Connect a veth's far end to the bridge of a VLAN: the switch that real VFs have in hardware."""
    with contextlib.closing(nlsocket.Socket(nlsocket.ROUTE)) as route:
        master = _bridge(route, f"vlan{vlan}")
        # As ip link set FAR master BRIDGE up: every VLAN statement comes here, so no process is started for it.
        _set_up(route, far, nlsocket.attribute(_MASTER, master.to_bytes(4, sys.byteorder)))


# include/uapi/linux/rtnetlink.h and if_link.h
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_IFNAME, _LINK, _MASTER, _LINKINFO = 3, 5, 10, 18
_INFO = struct.Struct("=BxHiII")  # struct ifinfomsg
_UP = 1  # IFF_UP
_LARGE = 1 << 25


def _bridge(route: nlsocket.Socket, name: str) -> int:
    """Return the index of the bridge with this name, which is made if there is none."""
    about = _INFO.pack(0, 0, 0, 0, 0) + nlsocket.attribute(_IFNAME, name.encode() + b"\0")
    kind = nlsocket.attribute(_LINKINFO | nlsocket.NESTED, nlsocket.attribute(1, b"bridge\0"))
    for _ in range(2):
        try:
            [found] = route.ask(_GETLINK, 0, about)
            return int(_INFO.unpack_from(found, nlsocket.HEADER.size)[2])
        except OSError:
            with contextlib.suppress(FileExistsError):  # another process may be quicker
                route.ask(_NEWLINK, nlsocket.ACK | nlsocket.CREATE, about + kind)
            _set_up(route, name)
    raise AssertionError(name)


def _set_up(route: nlsocket.Socket, name: str, *further: bytes) -> None:
    request = _INFO.pack(0, 0, 0, _UP, _UP) + nlsocket.attribute(_IFNAME, name.encode() + b"\0") + b"".join(further)
    route.ask(_NEWLINK, nlsocket.ACK, request)


def add_veth(name: str, far: str, address: str, queues: int, far_index: int) -> None:
    """Make a pair in the calling thread's namespace. The kernel chooses a number for a name as eth%d.

    It takes the other end's index only if it is given this one's too (veth_newlink() in drivers/net/veth.c). The index
    is practically never repeated, as with a kernel that counts up.
    """
    about = _INFO.pack(0, 0, _LARGE + secrets.randbits(24), 0, 0)
    numbers = [nlsocket.attribute(kind, queues.to_bytes(4, sys.byteorder)) for kind in (31, 32)]  # IFLA_NUM_?X_QUEUES
    own = nlsocket.attribute(1, bytes.fromhex(address.replace(":", "")))
    other = _INFO.pack(0, 0, far_index, 0, 0)
    peer = nlsocket.attribute(1, other + nlsocket.attribute(_IFNAME, far.encode() + b"\0"))  # VETH_INFO_PEER
    kind = nlsocket.attribute(1, b"veth\0") + nlsocket.attribute(2 | nlsocket.NESTED, peer)
    with contextlib.closing(nlsocket.Socket(nlsocket.ROUTE)) as route:
        named = nlsocket.attribute(_IFNAME, name.encode() + b"\0") + own + b"".join(numbers)
        request = about + named + nlsocket.attribute(_LINKINFO | nlsocket.NESTED, kind)
        route.ask(_NEWLINK, nlsocket.ACK | nlsocket.CREATE, request)


def delete(index: int) -> None:
    with contextlib.closing(nlsocket.Socket(nlsocket.ROUTE)) as route:
        route.ask(_DELLINK, nlsocket.ACK, _INFO.pack(0, 0, index, 0, 0))


def index_of(name: str) -> int:
    with contextlib.closing(nlsocket.Socket(nlsocket.ROUTE)) as route:
        asked = _INFO.pack(0, 0, 0, 0, 0) + nlsocket.attribute(_IFNAME, name.encode() + b"\0")
        [found] = route.ask(_GETLINK, 0, asked)
    return int(_INFO.unpack_from(found, nlsocket.HEADER.size)[2])


def name_of(index: int) -> str:
    with contextlib.closing(nlsocket.Socket(nlsocket.ROUTE)) as route:
        [found] = route.ask(_GETLINK, 0, _INFO.pack(0, 0, index, 0, 0))
    known = dict(nlsocket.attributes(found, nlsocket.HEADER.size + _INFO.size))
    return known[_IFNAME].rstrip(b"\0").decode()


def indices_with_peer(peer: int) -> list[int]:
    """Return the links in the calling thread's namespace that are a veth whose other end has this index.

    A veth keeps that index, whatever anybody in a pod does to it.
    """
    with contextlib.closing(nlsocket.Socket(nlsocket.ROUTE)) as route:
        found = route.ask(_GETLINK, nlsocket.DUMP, _INFO.pack(0, 0, 0, 0, 0))
    at = nlsocket.HEADER.size
    links = ((_INFO.unpack_from(each, at)[2], dict(nlsocket.attributes(each, at + _INFO.size))) for each in found)
    return [index for index, known in links if int.from_bytes(known.get(_LINK, b""), sys.byteorder) == peer]


def _vf_of(request: str, vfs: dict[str, Vf], pf: int, vf: int) -> Vf:
    found = [each for each in vfs.values() if each.pf == pf]
    if not found:
        raise errors.KernelError(request, errno.EOPNOTSUPP)
    match = [each for each in found if each.vf == vf]
    if not match:
        raise errors.KernelError(request, errno.EINVAL)
    return match[0]


def shown(link: kernel.Link) -> sysfs.Netdev:
    return sysfs.Netdev(link.name, link.index, link.address, link.mtu)
