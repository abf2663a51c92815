"""The machine's own kernel, with what it lacks without SR-IOV hardware: veths stand in for VF netdevs.

Moves, renames, addresses and routes are real. What a PF says about its VFs is a file that any process may read, except
for the VLAN, which is real: the far end of a VF's veth is plugged into a bridge of that VLAN. The built sysfs tree
follows each move. What a veth cannot show: it dies with its namespace, where a VF comes home (mock_node.bring_home).
"""

import contextlib
import dataclasses
import errno
import fcntl
import ipaddress
import json
import pathlib
import subprocess
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from sriov import devices, errors, kernel, netdevstate, netlink, netns, nsids, settings, sysfs
from tests.fakes import sysfs_tree


class Vf(msgspec.Struct, kw_only=True):
    """A VF of the mock: its PF's link index, its own, the veth's far end, and where the veth is now."""

    pf: int
    vf: int
    far: str
    index: int
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
        """The VFs by PCI address; what the block changes is kept, and nobody else changes it meanwhile."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            vfs = self.read()
            yield vfs
            draft = self._path.with_suffix(".tmp")  # others read without the lock
            draft.write_bytes(msgspec.json.encode(vfs))
            draft.rename(self._path)

    def read(self) -> dict[str, Vf]:
        return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Vf]) if self._path.exists() else {}


def opener(folder: pathlib.Path) -> Callable[[], AbstractContextManager[kernel.Kernel]]:
    """Requests in the namespace that the calling thread is in, which is the mock's host."""
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

    def set_link(self, ref: kernel.LinkRef, change: kernel.Change) -> None:
        self._net.set_link(ref, change)
        self._show(self._net.link(ref))

    def rename(self, index: int, name: str) -> None:
        self._net.rename(index, name)
        self._show(self._net.link(index))

    def drop_altname(self, index: int, name: str) -> None:
        self._net.drop_altname(index, name)

    def state(self, index: int, known: kernel.LinkState | None = None) -> kernel.LinkState:
        pci = self.link(index).parent
        return {**self._net.state(index, known), **({} if pci is None else {netdevstate.PARENT: pci.encode()})}

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
        """Let the built sysfs show the link where it is."""
        pci = before.parent
        with self._net.inside(target) as there:
            link = next((each for each in there.links() if each.name == name), None)
        if pci is None or link is None:
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
                found.state = dataclasses.replace(found.state, **values)
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

    def mark(self, target: netns.Netns) -> nsids.Mark | None:
        return self._net.mark(target)

    def is_gone(self, mark: nsids.Mark) -> bool:
        return self._net.is_gone(mark)

    def _with_parent(self, link: kernel.Link) -> kernel.Link:
        mine = (pci for pci, vf in self._state.read().items() if (vf.where, vf.index) == (self._where, link.index))
        return dataclasses.replace(link, parent=next(mine, None))

    def _show(self, link: kernel.Link) -> None:
        pci = self._with_parent(link).parent
        if pci and self._where == "home":
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
    bridge = f"vlan{vlan}"
    known = {each["ifname"] for each in _ip_json("link", "show", "type", "bridge")}
    if bridge not in known:
        subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=False, capture_output=True)
        subprocess.run(["ip", "link", "set", bridge, "up"], check=True)
    subprocess.run(["ip", "link", "set", far, "master", bridge, "up"], check=True)


def _ip_json(*arguments: str) -> Any:
    shown = subprocess.run(["ip", "-json", *arguments], check=True, capture_output=True).stdout
    return json.loads(shown or b"[]")


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
