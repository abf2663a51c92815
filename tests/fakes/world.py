"""World, a machine in memory: namespaces, links, PFs with their tables of VFs, and a sysfs tree that follows.

memory_kernel.MemoryKernel is a socket into it. Drivers answer as their `Profile`; the igb profile is what igb and igbvf
of Linux 6.12 answered when asked, other drivers' are in drivers.py. Any request can be made to fail:
`world.fail_at(k)`. If `world.life` is set, each request is one of that daemon's effects.
"""

import dataclasses
import errno
import itertools
import os
import pathlib
import weakref
from collections.abc import Callable

import msgspec

from sriov import devices, errors, settings
from sriov.hardware import sysfs
from sriov.linux import kernel, netns
from sriov.settings import Setting
from tests.fakes import life, memory_nftables, sysfs_tree

Identity = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """Behaviour of a driver.

    `unsupported` are settings it refuses with `refusal`, `baseline_only` those of which it takes only the baseline;
    `fresh` is a new VF. `max_rate` is the PF's link speed if that limits a rate.
    `keeps_administered`: a VF refuses its own address change, with `own_refusal`, while a MAC is administered.
    `takes_mac_at_down`, `takes_mac_at_once`: when the VF's netdev gets an administered address.
    `ignores_own_address`: it accepts an address and keeps the old one.
    `refuses_own_address`: it refuses every address that the VF sets, with `own_refusal`.
    `filters_by_administered`: the PF lets only frames to the administered address through to the VF.
    `rate_needs_link`: no rate can be set, not even none, while the PF has no link.
    `deaf_after_trust`: the PF ignores the VF after its trust was changed, until the VF is reset.
    `deaf_refusal` is the error of the VF's driver for an address if the PF ignores the VF; for an MTU it is
    `deaf_mtu_refusal`, None if the driver does not ask. `passes_over_its_own`: a MAC that the VF already has is not
    administered. `resetting`: how many requests for its netdev a VF refuses, with EBUSY and EAGAIN, after its PF was
    told a MAC. `checks_administered`: spoof checking compares with the administered MAC, even if there is none.
    `driver` is the name of the VFs' driver; with `link_type` InfiniBand, VFs have GUIDs, and no address can be set;
    `takes_guids`: a VF's driver that is bound uses what its PF was told.
    """

    unsupported: frozenset[Setting] = frozenset()
    baseline_only: frozenset[Setting] = frozenset()
    refusal: int = errno.EOPNOTSUPP
    fresh: settings.VfSettings = settings.BASELINE
    min_rate: bool = True
    max_rate: int | None = None
    provider_vlan: bool = True
    clears_mac: bool = True
    keeps_administered: bool = True
    own_refusal: int = errno.EADDRNOTAVAIL
    takes_mac_at_down: bool = True
    takes_mac_at_once: bool = False
    ignores_own_address: bool = False
    refuses_own_address: bool = False
    filters_by_administered: bool = True
    checks_administered: bool = False
    driver: str = "igbvf"
    rate_needs_link: bool = False
    deaf_after_trust: bool = False
    deaf_refusal: int = errno.EADDRNOTAVAIL
    deaf_mtu_refusal: int | None = None
    passes_over_its_own: bool = False
    resetting: int = 0
    link_type: devices.LinkType = devices.LinkType.ETHER
    takes_guids: bool = True


IGB = Profile(unsupported=frozenset({Setting.LINK_STATE}), min_rate=False, provider_vlan=False, rate_needs_link=True)
PERMISSIVE = Profile()
STUBBORN = Profile(clears_mac=False, keeps_administered=False)


FRESH: dict[str, bytes] = {
    "type": b"\1\0",
    "broadcast": b"\xff" * 6,
    "group": bytes(4),
    "txqueuelen": b"\xe8\3\0\0",
    "features.3": b"\7",
}
"""Settings of a new netdev, except those in kernel.Link, as Kernel.state() shows them."""


@dataclasses.dataclass(slots=True)
class Device:
    """A netdev and where it is. `slot` is PF link index and VF index, for a VF."""

    link: kernel.Link
    where: Identity
    slot: tuple[int, int] | None = None
    addresses: list[kernel.IpInterface] = dataclasses.field(default_factory=list)
    routes: list[kernel.Route] = dataclasses.field(default_factory=list)
    extra: dict[str, bytes] = dataclasses.field(default_factory=lambda: dict(FRESH))
    neighbours: list[kernel.Neighbour] = dataclasses.field(default_factory=list)
    peer: "Device | None" = dataclasses.field(default=None, compare=False, repr=False)


@dataclasses.dataclass(slots=True)
class Rdma:
    """A VF's RDMA device and where it is. `movable`: its driver can take it from programs that have it open.

    `uverbs` and `umad` are its device nodes' numbers, None during a move.
    """

    device: kernel.RdmaDevice
    pci: devices.PciAddress
    where: Identity
    movable: bool = True
    uverbs: int | None = None
    umad: int | None = None


@dataclasses.dataclass(slots=True)
class Pf:
    """A PF. `heard` is the address that it lets through to each VF; with NO_MAC the VF gets no unicast frame.

    `deaf_to` are the VFs that were not reset since the PF went down: it ignores them. `unanswered` are those whose
    driver will miss the PF's answer to the reset with which it begins; `resetting` is how many requests a VF will still
    refuse.
    """

    profile: Profile
    pci: devices.PciAddress
    vfs: list[settings.VfSettings]
    heard: list[str]
    deaf_to: set[int] = dataclasses.field(default_factory=set)
    unanswered: set[int] = dataclasses.field(default_factory=set)
    carrier: bool = True
    carrier_changes: int = 1
    resetting: dict[int, int] = dataclasses.field(default_factory=dict)


class World:
    """The machine. Its namespaces are files in `folder`, so that a handle's identity is real."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.node = sysfs_tree.SysfsTree(folder / "sys")
        self.requests: list[str] = []
        self.life: life.Life | None = None
        self.rdma_is_exclusive = False
        self.rdma_on_its_way: Callable[[devices.PciAddress], None] = lambda _: None
        self._folder = folder
        self._fail_at = 0
        self._errno = errno.EIO
        self._between: tuple[int, Callable[[], None]] = (0, lambda: None)
        self._numbers = itertools.count(2)
        self._devices: list[Device] = []
        self._pfs: dict[int, Pf] = {}
        self._rdmas: list[Rdma] = []
        self.stuck: set[str] = set()
        """Groups of settings that the drivers of this machine refuse to set back."""
        self.in_firmware: dict[devices.PciAddress, dict[str, bytes]] = {}
        """Settings of a VF that survive its netdev."""
        self.restless: set[str] = set()
        """Settings that differ at each read."""
        self.rules: dict[Identity, list[kernel.MarkRule]] = {}
        self.nft: dict[Identity, memory_nftables.Ruleset] = {}
        self.numbers: dict[Identity, tuple[int, int]] = {}
        self._handles: list[netns.Netns] = []
        weakref.finalize(self, _close, self._handles)  # tests make hundreds of machines
        self.home = self.namespace("host")

    def namespace(self, name: str) -> netns.Netns:
        """Return a handle of the namespace `name`, which is created with its first handle."""
        path = self._folder / f"ns-{name}"
        path.touch()
        self._handles.append(netns.Netns(os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
        return self._handles[-1]

    def adopt(self, fd: int) -> netns.Netns:
        """Adopt as netns.adopt: only files that stand for a namespace are accepted."""
        if pathlib.Path(f"/proc/self/fd/{fd}").readlink().name.startswith("ns-"):
            return netns.Netns(fd)
        os.close(fd)
        raise errors.NetnsError("the file is not a network namespace", "pass one of World.namespace")

    def path(self, name: str) -> str:
        """Return the CNI_NETNS of the namespace `name`."""
        return str(self._folder / f"ns-{name}")

    def add_pf(self, pci: str, name: str, profile: Profile = IGB, vfs: int = 7) -> tuple[devices.PciAddress, ...]:
        """Add a PF with VFs named NAMEv0, NAMEv1, …; returns the VFs' addresses."""
        index = self._add(kernel.Link(0, name, "52:54:00:00:00:01", 1500, True, pci), None)
        model = dataclasses.replace(sysfs_tree.IGB, link_type=profile.link_type)
        shown = sysfs.Netdev(name, index, "52:54:00:00:00:01", 1500)
        address = self.node.add_pf(pci, shown, model, numvfs=vfs)
        self._pfs[index] = Pf(profile, address, [profile.fresh] * vfs, [settings.NO_MAC] * vfs)
        self._show_carrier(self._pfs[index])
        made = self._vf_addresses(address)
        for number, vf in enumerate(made):
            self._bind(vf, self._pfs[index], number)
        return tuple(made)

    def set_numvfs(self, pf: devices.PciAddress, numvfs: int, *, autoprobe: bool = True) -> None:
        """Write sriov_numvfs: all VFs are gone, wherever they are; the new ones are in the host and fresh."""
        index = self._index(pf)
        self._pfs[index].heard = [settings.NO_MAC] * numvfs
        self._devices = [each for each in self._devices if each.slot is None or each.slot[0] != index]
        self._pfs[index].vfs = [self._pfs[index].profile.fresh] * numvfs
        gone = self._vf_addresses(pf)
        self._rdmas = [each for each in self._rdmas if each.pci not in gone]
        for number, vf in enumerate(self.node.set_numvfs(pf, numvfs)):
            self.node.set_driver(vf, None)
            if autoprobe:
                self._bind(vf, self._pfs[index], number)

    def lose_link(self, pf: devices.PciAddress) -> None:
        """Take the PF's carrier, as by an unplugged cable."""
        table = self._pfs[self._index(pf)]
        table.carrier = False
        table.carrier_changes += 1
        self._show_carrier(table)

    def reset_pf(self, pf: devices.PciAddress) -> None:
        """Take the PF down and up, as igb does it: it forgets its VFs' addresses and waits for each VF's own reset."""
        table = self._pfs[self._index(pf)]
        table.heard = [settings.NO_MAC] * len(table.vfs)
        table.deaf_to = {*range(len(table.vfs))}
        table.carrier_changes += 2
        self._show_carrier(table)

    def unbind(self, vf: devices.PciAddress) -> None:
        """Take the VF's driver away, and with it the netdev, wherever it is. What the PF knows stays."""
        self._devices = [each for each in self._devices if each.link.parent != vf]
        self._rdmas = [each for each in self._rdmas if each.pci != vf]
        self.node.clear_rdma(vf)
        self.node.set_driver(vf, None)
        self._show(vf)

    def bind(self, vf: devices.PciAddress) -> None:
        """Give the VF its driver: a new netdev in the host. igbvf takes an administered address from the start."""
        found = ((pf, self._vf_addresses(pf.pci)) for pf in self._pfs.values())
        pf, addresses = next((pf, addresses) for pf, addresses in found if vf in addresses)
        self._bind(vf, pf, addresses.index(vf))

    def _bind(self, vf: devices.PciAddress, pf: Pf, number: int) -> None:
        index = self._index(pf.pci)
        name = f"{self._named(index)}v{number}"
        own = f"02:00:00:{index:02x}:00:{number:02x}"
        address = own if pf.vfs[number].mac == settings.NO_MAC else pf.vfs[number].mac
        if pf.profile.link_type is devices.LinkType.INFINIBAND:
            address = infiniband_address(index, number, pf.vfs[number].guid if pf.profile.takes_guids else "")
        if number in pf.unanswered:
            address = _missed(pf, number)
        self.node.set_driver(vf, pf.profile.driver)
        link = kernel.Link(0, name, address, 1500, False, vf)
        if self.find(self.home.identity, name):
            link = msgspec.structs.replace(link, name=f"eth{number}")
        self._add(link, (index, number))
        self.netdevs(vf)[0].extra |= self.in_firmware.get(vf, {})
        pf.heard[number] = address
        self._show(vf)

    def add_vf_without_pf(self, pci: str, name: str) -> devices.PciAddress:
        """Add a VF as a virtual machine has it: a PCI function with a VF's driver and no physfn."""
        address = self.node.add_plain_nic(pci, None)
        self.node.set_driver(address, "igbvf")
        index = self._add(kernel.Link(0, name, "02:00:00:99:00:01", 1500, False, address), None)
        self.node.set_netdev(address, sysfs.Netdev(name, index, "02:00:00:99:00:01", 1500))
        return address

    def add_link(self, name: str, where: netns.Netns) -> int:
        """Add a virtual link such as a veth: no PCI parent, dies with its namespace."""
        return self._add(kernel.Link(0, name, "02:00:00:ff:00:01", 1500, False, None), None, where.identity)

    def add_pair(self, ends: tuple[kernel.End, kernel.End], places: tuple[Identity, Identity]) -> None:
        """Add a veth pair; it dies whole with either namespace, or with either end."""
        for end, place in zip(ends, places, strict=True):
            self._add(kernel.Link(0, end.name, end.address, 1500, False, None, kind="veth"), None, place)
        here, there = self._devices[-2:]
        here.peer, there.peer = there, here

    def delete(self, device: Device) -> None:
        self._devices = [each for each in self._devices if each not in (device, device.peer)]

    def add_rdma(self, vf: devices.PciAddress, movable: bool = True) -> kernel.RdmaDevice:
        """Give the VF an RDMA device, as mlx5_core and irdma do when they bind."""
        index = next(self._numbers)
        device = kernel.RdmaDevice(index, f"mlx5_{index}")
        made = Rdma(device, vf, self.home.identity, movable)
        self._rdmas.append(made)
        self._number(made)
        return device

    def destroy(self, name: str) -> None:
        """End a namespace: its VFs return under their present names, down and without addresses; virtual links die."""
        with self.namespace(name) as gone:
            identity = gone.identity
        self.numbers.pop(identity, None)
        (self._folder / f"ns-{name}").unlink()
        for device in [each for each in self._devices if each.where == identity]:
            if device.link.parent is None:
                self.delete(device)
            else:
                # default_device_exit_net() in net/core/dev.c, from 6.6 on: an altname that is taken is dropped.
                kept = tuple(each for each in device.link.altnames if not self.find(self.home.identity, each))
                device.link = msgspec.structs.replace(device.link, altnames=kept)
                self.relocate(device, self.home.identity, self._free(device.link))
        for rdma in self._rdmas:
            if rdma.where == identity:
                self.relocate_rdma(rdma, self.home.identity)

    def close(self) -> None:
        self.home.close()

    def fail_at(self, number: int, code: int = errno.EIO) -> None:
        """Let the `number`-th request from now on fail, counting from 1; 0 for none."""
        self.requests.clear()
        self._fail_at, self._errno = number, code

    def before(self, number: int, happens: Callable[[], None]) -> None:
        """Run `happens` just before the `number`-th request from now on."""
        self.requests.clear()
        self._between = number, happens

    def snapshot(self) -> object:
        """Return everything that a test may want to find unchanged."""
        links = sorted((each.where, each.link.index, repr(each)) for each in self._devices)
        return (
            links,
            list(map(repr, self._rdmas)),
            {index: (list(pf.vfs), list(pf.heard)) for index, pf in self._pfs.items()},
        )

    def netdevs(self, vf: devices.PciAddress) -> list[Device]:
        """Return the VF's netdevs in all namespaces; any number but one is an error."""
        return [each for each in self._devices if each.link.parent == vf]

    def rdmas(self, vf: devices.PciAddress) -> list[Rdma]:
        """Return the VF's RDMA devices in all namespaces."""
        return [each for each in self._rdmas if each.pci == vf]

    def namespaces(self) -> dict[Identity, str]:
        """Return the existing namespaces by identity."""
        found = {path.stat(): path.name.removeprefix("ns-") for path in self._folder.glob("ns-*")}
        return {(status.st_dev, status.st_ino): name for status, name in found.items()}

    # What follows is for MemoryKernel.

    def count(self, request: str) -> None:
        if self.life:
            self.life.effect(request)
        self.requests.append(request)
        if len(self.requests) == self._between[0]:
            self._between[1]()
        if len(self.requests) == self._fail_at:
            raise errors.KernelError(request, self._errno)

    def numbers_of(self, where: Identity) -> tuple[int, int]:
        """Return the host's number for a namespace, the lowest free one, and the namespace's for itself."""
        if where not in self.numbers:
            taken = {number for number, _ in self.numbers.values()}
            number = next(each for each in itertools.count() if each not in taken)
            self.numbers[where] = (number, next(self._numbers) << 16)
        return self.numbers[where]

    def find(self, where: Identity, ref: kernel.LinkRef) -> Device | None:
        here = (each for each in self._devices if each.where == where)
        if isinstance(ref, int):
            return next((each for each in here if each.link.index == ref), None)
        return next((each for each in here if ref == each.link.name or ref in each.link.altnames), None)

    def here(self, where: Identity) -> list[Device]:
        return [each for each in self._devices if each.where == where]

    def rdma_here(self, where: Identity) -> list[Rdma]:
        """Return those that may be used there; in shared mode, all of them everywhere."""
        return [each for each in self._rdmas if not self.rdma_is_exclusive or each.where == where]

    def rdma_named(self, name: str) -> Rdma | None:
        """Return the device in any namespace: names are unique on the machine."""
        return next((each for each in self._rdmas if each.device.name == name), None)

    def relocate_rdma(self, rdma: Rdma, where: Identity) -> None:
        """Move as rdma_dev_change_netns() in drivers/infiniband/core/device.c, also from a namespace to itself.

        uverbs and umad lose the device and get it again: its numbers are free meanwhile, which `rdma_on_its_way` may
        prolong (ib_uverbs_remove_one() in uverbs_main.c, ib_umad_kill_port() in user_mad.c).
        """
        rdma.uverbs = rdma.umad = None
        self.show_rdma(rdma.pci)
        self.rdma_on_its_way(rdma.pci)
        rdma.where = where
        self._number(rdma)

    def _number(self, rdma: Rdma) -> None:
        """Assign the lowest free numbers: ida_alloc_max() in ib_uverbs_add_one() and in ib_umad_init_port()."""
        rdma.uverbs = _lowest({each.uverbs for each in self._rdmas})
        rdma.umad = _lowest({each.umad for each in self._rdmas})
        self.show_rdma(rdma.pci)

    def show_rdma(self, vf: devices.PciAddress) -> None:
        """Show a device's name in sysfs only where it is, its character devices everywhere."""
        self.node.clear_rdma(vf)
        for rdma in self.rdmas(vf):
            if rdma.uverbs is not None:
                at_home = rdma.where == self.home.identity
                self.node.set_rdma(vf, rdma.uverbs, at_home=at_home, name=rdma.device.name, umad=rdma.umad)

    def pf(self, index: int) -> Pf | None:
        return self._pfs.get(index)

    def relocate(self, device: Device, where: Identity, name: str) -> None:
        device.where, device.addresses, device.routes = where, [], []
        device.link = msgspec.structs.replace(device.link, name=name)
        self.bring(device, False)

    def bring(self, device: Device, up: bool) -> None:
        """Set the admin state. igbvf takes an administered address over when it goes down."""
        if device.link.up and not up and device.slot:
            pf = self._pfs[device.slot[0]]
            mac = pf.vfs[device.slot[1]].mac
            pf.deaf_to.discard(device.slot[1])
            if pf.profile.takes_mac_at_down and mac != settings.NO_MAC:
                device.link = msgspec.structs.replace(device.link, address=mac)
            self.hear(device)
        device.link = msgspec.structs.replace(device.link, up=up, running=up)
        self.changed(device)

    def changed(self, device: Device) -> None:
        if device.link.parent:
            self._show(devices.pci_address(device.link.parent))

    def administer(self, pf: int, vf: int, wanted: settings.VfSettings) -> None:
        table = self._pfs[pf]
        if table.profile.deaf_after_trust and wanted.trust != table.vfs[vf].trust:
            table.deaf_to.add(vf)
        table.vfs[vf] = wanted

    def passes_over(self, pf: int, vf: int, mac: str) -> bool:
        """Report whether the driver ignores this MAC, since the VF already has it."""
        has_it = any(each.slot == (pf, vf) and each.link.address == mac for each in self._devices)
        return has_it and self._pfs[pf].profile.passes_over_its_own

    def refuse_while_resetting(self, request: str, device: Device) -> None:
        table = self._pfs.get(device.slot[0]) if device.slot else None
        if table is None or device.slot is None:
            return
        left = table.resetting.get(device.slot[1], 0)
        if left:
            table.resetting[device.slot[1]] = left - 1
            raise errors.KernelError(request, errno.EBUSY if left % 2 else errno.EAGAIN)

    def administer_mac(self, pf: int, vf: int, mac: str) -> None:
        """Do what a driver does with a MAC apart from remembering it."""
        table = self._pfs[pf]
        table.resetting[vf] = table.profile.resetting
        if table.profile.filters_by_administered:
            # igb_set_vf_mac() writes whatever it gets into the VF's receive filter, also no address.
            table.heard[vf] = mac
        if table.profile.takes_mac_at_once and mac != settings.NO_MAC:
            for device in [each for each in self._devices if each.slot == (pf, vf)]:
                device.link = msgspec.structs.replace(device.link, address=mac)
                self.hear(device)
                self.changed(device)

    def lets_out(self, pf: int, vf: int) -> bool:
        """Report whether frames with the VF's own source address pass spoof checking."""
        [device] = [each for each in self._devices if each.slot == (pf, vf)]
        state = self._pfs[pf].vfs[vf]
        checked = self._pfs[pf].profile.checks_administered and state.spoofchk
        return not checked or state.mac == device.link.address

    def hear(self, device: Device, address: str | None = None) -> None:
        """Let frames to this address, or else to the netdev's own, through from the PF to the VF."""
        if device.slot and device.slot[1] not in self._pfs[device.slot[0]].deaf_to:
            self._pfs[device.slot[0]].heard[device.slot[1]] = address or device.link.address

    def _add(self, link: kernel.Link, slot: tuple[int, int] | None, where: Identity | None = None) -> int:
        index = next(self._numbers)
        self._devices.append(Device(msgspec.structs.replace(link, index=index), where or self.home.identity, slot))
        return index

    def _show_carrier(self, table: Pf) -> None:
        self.node.set_carrier(table.pci, table.carrier, table.carrier_changes)

    def _index(self, pf: devices.PciAddress) -> int:
        return next(index for index, each in self._pfs.items() if each.pci == pf)

    def _named(self, index: int) -> str:
        return next(each.link.name for each in self._devices if each.link.index == index)

    def _vf_addresses(self, pf: devices.PciAddress) -> list[devices.PciAddress]:
        folder = self.node.tree.pci(pf)
        links = sorted(folder.glob("virtfn*"), key=lambda link: int(link.name.removeprefix("virtfn")))
        return [devices.pci_address(link.readlink().name) for link in links]

    def _show(self, vf: devices.PciAddress) -> None:
        """Show a netdev in sysfs only in the namespace that it is in."""
        found = [each.link for each in self.here(self.home.identity) if each.link.parent == vf]
        shown = [sysfs.Netdev(link.name, link.index, link.address, link.mtu) for link in found]
        self.node.set_netdev(vf, *shown)

    def _free(self, link: kernel.Link) -> str:
        return f"dev{link.index}" if self.find(self.home.identity, link.name) else link.name


def _lowest(taken: set[int | None]) -> int:
    return next(number for number in itertools.count() if number not in taken)


def _close(handles: list[netns.Netns]) -> None:
    for each in handles:
        each.close()


def infiniband_address(index: int, number: int, guid: str = "") -> str:
    """Make the address as IPoIB does, of flags, queue pair, subnet and port GUID; the VF's own GUID if none is set."""
    own = f"02:00:00:{index:02x}:00:00:01:{number:02x}"
    given = own if guid in ("", settings.NO_GUID) else guid
    return f"00:00:01:07:fe:80:00:00:00:00:00:00:{given}"


def _missed(pf: Pf, number: int) -> str:
    """Return a random address, which igbvf takes then; igb lets a trusted VF replace the administered one by it."""
    pf.unanswered.remove(number)
    address = f"02:ff:ff:ff:ff:{number:02x}"
    if pf.vfs[number].trust:
        pf.vfs[number] = msgspec.structs.replace(pf.vfs[number], mac=address)
    return address
