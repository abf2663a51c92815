"""Kernel in memory, behind the same Protocol as netlink.Netlink, for tests without root, hardware or time."""

import contextlib
import errno
import itertools
import struct
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager

import msgspec

from sriov import devices, errors, settings
from sriov.linux import kernel, netns, nsid
from sriov.linux.messages import links
from sriov.linux.netdev import netdev_settings
from sriov.settings import Setting
from tests.fakes import memory_nftables
from tests.fakes.world import Device, Identity, Pf, Profile, Rdma, World

_SHOWN = ("promisc", "allmulti", "noarp")
"""Flags that are settings, and that kernel.Link has."""


def opener(world: World) -> Callable[[], AbstractContextManager[kernel.Kernel]]:
    """Open requests in the host's namespace, as node.Node needs them."""
    return lambda: contextlib.nullcontext(MemoryKernel(world, world.home.identity))


class MemoryKernel:
    """Requests in one namespace of a World."""

    def __init__(self, world: World, where: Identity) -> None:
        self._world = world
        self._where = where

    def link(self, ref: kernel.LinkRef) -> kernel.Link:
        return self._device(f"show link {ref}", ref).link

    def links(self) -> tuple[kernel.Link, ...]:
        self._world.count("list links")
        return tuple(each.link for each in self._world.here(self._where))

    def add_pair(self, here: kernel.End, there: kernel.End, target: netns.Netns) -> None:
        request = f"make the veth pair {here.name} and {there.name}"
        self._world.count(request)
        if self._world.find(self._where, here.name) or self._world.find(target.identity, there.name):
            raise errors.KernelError(request, errno.EEXIST)
        self._world.add_pair((here, there), (self._where, target.identity))

    def delete_link(self, index: int) -> None:
        self._world.delete(self._device(f"delete link {index}", index))

    def set_link(self, ref: kernel.LinkRef, change: kernel.Change) -> None:
        request = f"set link {ref} {change}"
        device = self._device(request, ref)
        self._world.refuse_while_resetting(request, device)
        self._set_values(request, device, change)
        self._set_flags(device, change)
        self._world.changed(device)

    def rename(self, index: int, name: str) -> None:
        request = f"rename link {index} to {name}"
        device = self._device(request, index)
        self._check_name(request, self._where, name, device)
        device.link = msgspec.structs.replace(device.link, name=name)
        self._world.changed(device)

    def release_name(self, name: str) -> None:
        device = self._device(f"have another link give up the name {name}", name)
        numbers = (f"dev{number}" for number in itertools.count())
        free = next(each for each in numbers if self._world.find(self._where, each) is None)
        device.link = msgspec.structs.replace(device.link, name=free)
        self._world.changed(device)

    def drop_altname(self, index: int, name: str) -> None:
        request = f"drop altname {name} of link {index}"
        device = self._device(request, index)
        if name not in device.link.altnames:
            raise errors.KernelError(request, errno.ENOENT)
        device.link = msgspec.structs.replace(device.link, altnames=tuple({*device.link.altnames} - {name}))

    def state(self, index: int, known: kernel.LinkState | None = None) -> kernel.LinkState:
        return self.look(index, known)[1]

    def look(self, index: int, known: kernel.LinkState | None = None) -> tuple[kernel.Link, kernel.LinkState]:
        device = self._device(f"show the settings of link {index}", index)
        for key in self._world.restless:
            device.extra[key] = (int.from_bytes(device.extra.get(key, b"")) + 1).to_bytes(8)
        flags = sum(links.FLAGS[name] for name in _SHOWN if getattr(device.link, name))
        shown = {"flags": struct.pack("=I", flags | netdev_settings.MULTICAST), **device.extra}
        if device.link.parent is not None:
            shown[netdev_settings.PARENT] = device.link.parent.encode()
        if device.link.altnames:
            shown["altnames"] = b"\0".join(sorted(name.encode() for name in device.link.altnames))
        return device.link, shown

    def restore(self, index: int, name: str, wanted: kernel.LinkState, found: kernel.LinkState) -> None:
        request = f"set {name} of link {index} back"
        device = self._device(request, index)
        if name in self._world.stuck:
            raise errors.KernelError(request, errno.EOPNOTSUPP)
        if name == "flags":
            [flags] = struct.unpack("=I", wanted[name])
            promisc, allmulti, noarp = (bool(flags & links.FLAGS[each]) for each in _SHOWN)
            self._set_flags(device, kernel.Change(promisc=promisc, allmulti=allmulti, noarp=noarp))
        elif name == "altnames":
            device.link = msgspec.structs.replace(device.link, altnames=tuple(netdev_settings.altnames(wanted)))
        else:
            kept = {key: value for key, value in device.extra.items() if netdev_settings.group(key) != name}
            device.extra = kept | {key: value for key, value in wanted.items() if netdev_settings.group(key) == name}

    def move(self, index: int, target: netns.Netns, name: str, change: kernel.Change = kernel.NOTHING) -> None:
        request = f"move link {index} as {name}"
        device = self._device(request, index)
        current = device.link.name
        # __dev_change_net_namespace() in net/core/dev.c, from 6.6 on: no altname may be taken there.
        if any(self._world.find(target.identity, altname) for altname in device.link.altnames):
            raise errors.KernelError(request, errno.EEXIST)
        if self._world.find(target.identity, current):
            current = name
            self._check_name(request, target.identity, name, device)
        self._world.relocate(device, target.identity, current)
        # As in do_setlink(): all else comes after the move, which a refusal does not take back, and the name after the
        # address and the MTU.
        if change != kernel.NOTHING:
            self._world.refuse_while_resetting(request, device)
        self._set_values(request, device, change)
        self._check_name(request, target.identity, name, device)
        device.link = msgspec.structs.replace(device.link, name=name)
        self._set_flags(device, change)
        self._world.changed(device)

    def set_vf(self, pf: int, vf: int, wanted: settings.VfSettings, which: Set[Setting]) -> None:
        request = f"set {sorted(each.value for each in which)} on VF {vf} of link {pf}"
        self._world.count(request)
        table = self._vf_table(request, pf, vf)
        # do_setvfinfo() in net/core/rtnetlink.c takes the attributes one by one and stops at the first refusal.
        for setting in (each for each in Setting if each in which):
            _check_driver(request, table.profile, wanted, setting)
            if setting is Setting.RATE and table.profile.rate_needs_link and not table.carrier:
                raise errors.KernelError(request, errno.EINVAL)
            if setting is Setting.MAC and self._world.passes_over(pf, vf, wanted.mac):
                continue
            self._world.administer(pf, vf, settings.taken(table.vfs[vf], wanted, frozenset({setting})))
            if setting is Setting.MAC:
                self._world.administer_mac(pf, vf, wanted.mac)

    def vf(self, pf: int, vf: int) -> settings.VfSettings:
        request = f"show VF {vf} of link {pf}"
        self._world.count(request)
        table = self._vf_table(request, pf, vf)
        if vf >= _listed(len(table.vfs)):
            raise errors.KernelError(request, errno.EMSGSIZE)
        return table.vfs[vf]

    def add_address(self, index: int, address: kernel.IpInterface) -> None:
        request = f"add address {address} to link {index}"
        device = self._device(request, index)
        if address in device.addresses:
            raise errors.KernelError(request, errno.EEXIST)
        device.addresses.append(address)

    def addresses(self, index: int) -> tuple[kernel.IpInterface, ...]:
        return tuple(self._device(f"list addresses of link {index}", index).addresses)

    def pending(self, index: int) -> tuple[kernel.IpInterface, ...]:
        """Return none: no neighbour exists that duplicate detection could find."""
        self._device(f"list addresses of link {index}", index)
        return ()

    def add_route(self, index: int, route: kernel.Route) -> None:
        request = f"add route {route.dst} to link {index}"
        device = self._device(request, index)
        if not device.link.up:
            raise errors.KernelError(request, errno.ENETDOWN)
        if route.source and not any(route.source == ip for each in self._world.here(self._where) for ip in _ips(each)):
            raise errors.KernelError(request, errno.EINVAL)
        gateway = None if route.onlink else route.gateway
        if gateway and not any(gateway in address.network for address in device.addresses):
            raise errors.KernelError(request, errno.ENETUNREACH)
        others = (each for one in self._world.here(self._where) for each in one.routes) if route.exclusive else ()
        if route in device.routes or any((each.dst, each.table) == (route.dst, route.table) for each in others):
            raise errors.KernelError(request, errno.EEXIST)
        device.routes.append(route)

    def routes(self, index: int) -> tuple[kernel.Route, ...]:
        device = self._device(f"list routes of link {index}", index)
        direct = [kernel.Route(address.network) for address in device.addresses]
        return (*direct, *device.routes)

    def global_addresses(self, without: Set[int] = frozenset()) -> tuple[tuple[int, kernel.IpInterface], ...]:
        self._world.count("list addresses")
        every = ((each.link.index, address) for each in self._world.here(self._where) for address in each.addresses)
        return tuple((index, address) for index, address in every if not (address.ip.is_link_local or index in without))

    def source_to(self, destination: kernel.IpAddress) -> kernel.IpAddress | None:
        """Return the first address on the network of the destination: this kernel routes no further."""
        self._world.count(f"show the route to {destination}")
        every = (address for each in self._world.here(self._where) for address in each.addresses)
        return next((each.ip for each in every if destination in each.network), None)

    def add_neighbour(self, index: int, neighbour: kernel.Neighbour) -> None:
        request = f"add neighbour {neighbour.ip} to link {index}"
        device = self._device(request, index)
        if any(each.ip == neighbour.ip for each in device.neighbours):
            raise errors.KernelError(request, errno.EEXIST)
        device.neighbours.append(neighbour)

    def neighbours(self, index: int) -> tuple[kernel.Neighbour, ...]:
        return tuple(self._device(f"list neighbours of link {index}", index).neighbours)

    def add_rule(self, rule: kernel.MarkRule) -> None:
        request = f"add a rule for mark {rule.mark:#x}"
        self._world.count(request)
        here = self._world.rules.setdefault(self._where, [])
        if rule in here:
            raise errors.KernelError(request, errno.EEXIST)
        here.append(rule)

    def rules(self) -> tuple[kernel.MarkRule, ...]:
        self._world.count("list rules")
        return tuple(self._world.rules.get(self._where, ()))

    def needs_nft(self, purpose: str) -> None:
        """This machine has it."""

    def nft_comment(self, table: str, chain: str = "") -> str:
        self._world.count(f"show table {table} of nftables")
        return self._nft.comment(table, chain)

    def nft_generation(self) -> int:
        self._world.count("show whether nftables has changed")
        return self._nft.generation

    def nft_rules(self, table: str, most: int, *, netdev: bool = True) -> tuple[bytes, ...]:
        self._world.count(f"show the rules of table {table}")
        return self._nft.rules(table, netdev=netdev)[:most]

    def nft_elements(self, table: str, name: str, most: int) -> frozenset[bytes]:
        self._world.count(f"show set {name} of table {table}")
        return frozenset(itertools.islice(self._nft.elements(table, name), most))

    @property
    def _nft(self) -> memory_nftables.Ruleset:
        return self._world.nft.setdefault(self._where, memory_nftables.Ruleset())

    def run_nft(self, commands: str) -> None:
        self._world.count("set rules of nftables")
        self._nft.run(commands)

    def rdma_is_exclusive(self) -> bool:
        self._world.count("show how namespaces share RDMA devices")
        return self._world.rdma_is_exclusive

    def rdma_devices(self) -> tuple[kernel.RdmaDevice, ...]:
        self._world.count("list RDMA devices")
        return tuple(each.device for each in self._world.rdma_here(self._where))

    def move_rdma(self, index: int, target: netns.Netns) -> None:
        request = f"move RDMA device {index}"
        rdma = self._rdma(request, index)
        if not self._world.rdma_is_exclusive or not rdma.movable:
            raise errors.KernelError(request, errno.EOPNOTSUPP)
        self._world.relocate_rdma(rdma, target.identity)

    def rename_rdma(self, index: int, name: str) -> None:
        request = f"rename RDMA device {index} to {name}"
        rdma = self._rdma(request, index)
        if self._world.rdma_named(name) not in (None, rdma):
            raise errors.KernelError(request, errno.EEXIST)
        rdma.device = msgspec.structs.replace(rdma.device, name=name)
        self._world.show_rdma(rdma.pci)

    @contextlib.contextmanager
    def inside(self, target: netns.Netns) -> Iterator["MemoryKernel"]:
        yield MemoryKernel(self._world, target.identity)

    def mark(self, target: netns.Netns) -> nsid.Mark:
        self._world.count("mark a namespace")
        return nsid.Mark(self._where, *self._world.numbers_of(target.identity))

    def is_gone(self, mark: nsid.Mark) -> bool:
        self._world.count(f"ask for {mark}")
        return mark.home == self._where and (mark.number, mark.own) not in self._world.numbers.values()

    def _device(self, request: str, ref: kernel.LinkRef) -> Device:
        self._world.count(request)
        device = self._world.find(self._where, ref)
        if device is None:
            raise errors.KernelError(request, errno.ENODEV)
        return device

    def _rdma(self, request: str, index: int) -> Rdma:
        self._world.count(request)
        found = next((each for each in self._world.rdma_here(self._where) if each.device.index == index), None)
        if found is None:
            raise errors.KernelError(request, errno.EINVAL)  # as nldev_set_doit() says it, not ENODEV
        return found

    def _check_name(self, request: str, where: Identity, name: str, mover: Device) -> None:
        """Refuse a taken name; a link's own altname counts too (netdev_name_in_use() in net/core/dev.c)."""
        holder = self._world.find(where, name)
        if holder not in (None, mover) or (holder and name in holder.link.altnames):
            raise errors.KernelError(request, errno.EEXIST)

    def _set_values(self, request: str, device: Device, change: kernel.Change) -> None:
        if change.address is not None:
            self._set_address(request, device, change.address)
        if change.mtu is not None:
            if not 68 <= change.mtu <= 9216:
                raise errors.KernelError(request, errno.EINVAL)
            pf = self._world.pf(device.slot[0]) if device.slot and change.mtu != device.link.mtu else None
            if pf and device.slot and device.slot[1] in pf.deaf_to and pf.profile.deaf_mtu_refusal:
                raise errors.KernelError(request, pf.profile.deaf_mtu_refusal)
            device.link = msgspec.structs.replace(device.link, mtu=change.mtu)

    def _set_flags(self, device: Device, change: kernel.Change) -> None:
        for flag in ("promisc", "allmulti", "noarp"):
            if (value := getattr(change, flag)) is not None:
                device.link = msgspec.structs.replace(device.link, **{flag: value})
        if change.up is not None:
            self._world.bring(device, change.up)

    def _set_address(self, request: str, device: Device, address: str) -> None:
        if int(address[:2], 16) & 1:
            raise errors.KernelError(request, errno.EADDRNOTAVAIL)
        if address == device.link.address:
            return  # the kernel does not ask the driver to set what it already has
        pf = self._world.pf(device.slot[0]) if device.slot else None
        if pf and pf.profile.link_type is devices.LinkType.INFINIBAND:
            raise errors.KernelError(request, errno.EOPNOTSUPP)
        if pf and device.slot:
            administered = pf.vfs[device.slot[1]].mac != settings.NO_MAC
            if pf.profile.refuses_own_address or (pf.profile.keeps_administered and administered):
                raise errors.KernelError(request, pf.profile.own_refusal)
            if pf.profile.ignores_own_address:
                return
        if pf and device.slot and device.slot[1] in pf.deaf_to and not device.link.up:
            raise errors.KernelError(request, pf.profile.deaf_refusal)
        device.link = msgspec.structs.replace(device.link, address=address)
        self._world.hear(device)

    def _vf_table(self, request: str, pf: int, vf: int) -> Pf:
        device = self._world.find(self._where, pf)
        if device is None:
            raise errors.KernelError(request, errno.ENODEV)
        table = self._world.pf(pf)
        if table is None:
            raise errors.KernelError(request, errno.EOPNOTSUPP)
        if not 0 <= vf < len(table.vfs):
            raise errors.KernelError(request, errno.EINVAL)
        return table


def _ips(device: Device) -> list[kernel.IpAddress]:
    return [each.ip for each in device.addresses]


def _check_driver(request: str, profile: Profile, wanted: settings.VfSettings, setting: Setting) -> None:
    if setting is Setting.GUID and profile.link_type is not devices.LinkType.INFINIBAND:
        raise errors.KernelError(request, errno.EOPNOTSUPP)
    refused = setting in profile.baseline_only and wanted.value(setting) != settings.BASELINE.value(setting)
    if refused or setting in profile.unsupported:
        raise errors.KernelError(request, profile.refusal)
    if setting is Setting.RATE and _bad_rate(profile, wanted):
        raise errors.KernelError(request, errno.EINVAL)
    if setting is Setting.VLAN:
        _check_vlan(request, profile, wanted)
    if setting is Setting.MAC:
        if int(wanted.mac[:2], 16) & 1:
            raise errors.KernelError(request, errno.EINVAL)
        if wanted.mac == settings.NO_MAC and not profile.clears_mac:
            raise errors.KernelError(request, errno.EINVAL)


def _bad_rate(profile: Profile, wanted: settings.VfSettings) -> bool:
    too_fast = profile.max_rate is not None and max(wanted.min_tx_rate, wanted.max_tx_rate) > profile.max_rate
    return too_fast or (wanted.min_tx_rate > 0 and not profile.min_rate)


def _check_vlan(request: str, profile: Profile, wanted: settings.VfSettings) -> None:
    """Check the VLAN. 4095 is reserved, and yet every driver takes it."""
    if wanted.vlan > 4095 or wanted.qos > 7:
        raise errors.KernelError(request, errno.EINVAL)
    if wanted.proto is settings.VlanProto.AD and not profile.provider_vlan:
        raise errors.KernelError(request, errno.EPROTONOSUPPORT)


def _listed(count: int) -> int:
    """Return how many of a PF's VFs can be read, as measured with netdevsim on Linux 6.12: 196 bytes each.

    The list is one attribute with a length of 16 bits, which overflows; 256 KiB are received and no more.
    """
    length = 4 + 196 * count
    if length < 1 << 16:
        return count
    return -(-(length % (1 << 16) - 4) // 196) if length < 1 << 18 else 0
