"""Client of rtnetlink: every request that reads or changes links (`kernel.Kernel`), and no decisions."""

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Set
from typing import Any, TypeVar

from sriov import errors, settings
from sriov.linux import kernel, netns, nldev, nlsocket, nsid
from sriov.linux.messages import links, neighbours, pyroute2_parts, routes, vfs
from sriov.linux.netdev import bpf, ethtool, netdev_settings

_T = TypeVar("_T")

ifinfmsg = pyroute2_parts.part("netlink.rtnl.ifinfmsg").ifinfmsg
rtmsg = pyroute2_parts.part("netlink.rtnl.rtmsg").rtmsg

# include/uapi/linux/rtnetlink.h
_NEWLINK, _DELLINK, _GETLINK, _NEWLINKPROP, _DELLINKPROP = 16, 17, 18, 108, 109
_RESTORING = {"set": _NEWLINK, "add": _NEWLINKPROP, "drop": _DELLINKPROP}
_NEWADDR, _GETADDR = 20, 22
_NEWROUTE, _GETROUTE = 24, 26
_NEWNEIGH, _GETNEIGH, _NEWRULE, _GETRULE = 28, 30, 32, 34
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
# Without the second flag the kernel adds every VF's counters to the answer, and the link's own.
_RTEXT_FILTER_VF = 1
_RTEXT_FILTER_SKIP_STATS = 8
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL})
_DAD_FAILED, _TENTATIVE = 0x08, 0x40  # IFA_F_DADFAILED, IFA_F_TENTATIVE, include/uapi/linux/if_addr.h

_EVERY_ADDRESS = bytes(8)  # struct ifaddrmsg without a family
_LARGEST = 1 << 18  # bytes of an answer about a PF: more than 1,000 VFs, whose list has overflowed several times
_TOO_MANY = "the kernel can show about 330 VFs of one PF, and this one has more: create fewer"


class Netlink:
    """The machine's kernel. One instance belongs to one thread and to the namespace that it was made in.

    `where` is that namespace, if it is not the thread's own; the caller keeps it open.
    """

    def __init__(self, where: netns.Netns | None = None) -> None:
        self._where = where
        self._route = nlsocket.Socket(nlsocket.ROUTE)
        self._rdma: nldev.Nldev | None = None
        # The host's is opened at once, as the thread may be elsewhere later; a pod's links are not read whole.
        self._settings = _ethtool() if where is None else None

    def close(self) -> None:
        self._route.close()
        if self._rdma is not None:
            self._rdma.close()
        if self._settings is not None:
            self._settings.close()

    def link(self, ref: kernel.LinkRef) -> kernel.Link:
        with refusals(f"show link {ref}"):
            return links.shown(self._show(ref, _RTEXT_FILTER_SKIP_STATS))

    def links(self) -> tuple[kernel.Link, ...]:
        request = links.show(None, _RTEXT_FILTER_SKIP_STATS)
        with refusals("list links"):
            return tuple(map(links.shown, self._route.ask(_GETLINK, nlsocket.DUMP, request)))

    def add_pair(self, here: kernel.End, there: kernel.End, target: netns.Netns) -> None:
        with refusals(f"make the veth pair {here.name} and, in another namespace, {there.name}"):
            self._route.ask(_NEWLINK, nlsocket.ACK | nlsocket.CREATE, links.pair(here, there, target))

    def delete_link(self, index: int) -> None:
        with refusals(f"delete link {index}"):
            self._route.ask(_DELLINK, nlsocket.ACK, links.whole(index))

    def set_link(self, ref: kernel.LinkRef, change: kernel.Change) -> None:
        with refusals(f"set {change} on link {ref}"):
            self._change(links.change(ref, change))

    def rename(self, index: int, name: str) -> None:
        with refusals(f"rename link {index} to {name}"):
            self._change(links.rename(index, name))

    def release_name(self, name: str) -> None:
        """By ioctl: rtnetlink takes one name, either as the link's present one or as its new one."""
        with refusals(f"have another link give up the name {name}"):
            self._route.rename_called(name, "dev%d")

    def drop_altname(self, index: int, name: str) -> None:
        with refusals(f"drop altname {name} of link {index}"):
            self._route.ask(_DELLINKPROP, nlsocket.ACK, links.drop_altname(index, name))

    def state(self, index: int, known: kernel.LinkState | None = None) -> kernel.LinkState:
        return self.look(index, known)[1]

    def look(self, index: int, known: kernel.LinkState | None = None) -> tuple[kernel.Link, kernel.LinkState]:
        groups = None if known is None else {netdev_settings.group(key) for key in known}
        with refusals(f"show the settings of link {index}"):
            answer = self._show(index, _RTEXT_FILTER_SKIP_STATS)
            link = links.shown(answer)
            found = netdev_settings.of_link(answer) | bpf.programs(index)
            if self._settings is not None:
                found |= self._settings.settings(index, link.name, groups)
            return link, found

    def restore(self, index: int, name: str, wanted: kernel.LinkState, found: kernel.LinkState) -> None:
        with refusals(f"set {name} of link {index} back"):
            if name in bpf.ENDS:
                bpf.take_off_tcx(index, name)
            elif self._settings is not None and self._settings.sets(name):
                self._settings.set(index, self.link(index).name, name, wanted, found)
            else:
                self._restore_link(index, name, wanted, found)

    def _restore_link(self, index: int, name: str, wanted: kernel.LinkState, found: kernel.LinkState) -> None:
        try:
            for kind, request in netdev_settings.requests(index, name, wanted, found):
                self._route.ask(_RESTORING[kind], nlsocket.ACK, request)
        except OSError as error:
            program = netdev_settings.xdp_program(found)
            if error.errno != errno.EBUSY or name != netdev_settings.XDP or not program:
                raise
            bpf.end_xdp_link(index, program)  # a link holds it: rtnetlink cannot take it off

    def move(self, index: int, target: netns.Netns, name: str, change: kernel.Change = kernel.NOTHING) -> None:
        with refusals(f"move link {index} into another namespace as {name}"):
            self._change(links.move(index, target, name, change))

    def set_vf(self, pf: int, vf: int, wanted: settings.VfSettings, which: Set[settings.Setting]) -> None:
        names = ", ".join(sorted(f"{each.value} {wanted.value(each)}" for each in which))
        with refusals(f"set {names} on VF {vf} of link {pf}"):
            self._change(nlsocket.body(ifinfmsg, {"index": pf}, [vfs.request(vf, wanted, which)]))

    def vf(self, pf: int, vf: int) -> settings.VfSettings:
        request = f"show VF {vf} of link {pf}"
        with refusals(request):
            shown = self._show(pf, _RTEXT_FILTER_VF | _RTEXT_FILTER_SKIP_STATS)
        if len(shown) > _LARGEST:
            raise errors.KernelError(request, errno.EMSGSIZE, _TOO_MANY)
        [found] = nlsocket.read(ifinfmsg, [vfs.list_alone(shown)])
        info = vfs.of(found, vf)
        if info is None and vfs.breaks_off_before(found, vf, len(shown)):
            raise errors.KernelError(request, errno.EMSGSIZE, _TOO_MANY)
        if info is None:
            raise errors.KernelError(request, errno.EINVAL)
        return vfs.shown(info)

    def add_address(self, index: int, address: kernel.IpInterface) -> None:
        with refusals(f"add address {address} to link {index}"):
            self._route.ask(_NEWADDR, nlsocket.ACK | nlsocket.CREATE, routes.address(index, address))

    def addresses(self, index: int) -> tuple[kernel.IpInterface, ...]:
        return tuple(each for flags, each in self._addresses(index) if not flags & _DAD_FAILED)

    def pending(self, index: int) -> tuple[kernel.IpInterface, ...]:
        """Without an address that a neighbour has: it stays tentative for ever (addrconf_dad_stop())."""
        looked_into = ((flags & (_TENTATIVE | _DAD_FAILED), each) for flags, each in self._addresses(index))
        return tuple(each for flags, each in looked_into if flags == _TENTATIVE)

    def _addresses(self, index: int) -> tuple[tuple[int, kernel.IpInterface], ...]:
        with refusals(f"list addresses of link {index}"):
            every = self._listed(lambda each: each == index)
        return tuple((each.flags, each.interface) for each in every)

    def _listed(self, of: Callable[[int], bool]) -> list[routes.Address]:
        every = self._route.ask(_GETADDR, nlsocket.DUMP, _EVERY_ADDRESS)
        return [routes.listed(each) for each in every if of(routes.index_of(each))]

    def add_route(self, index: int, route: kernel.Route) -> None:
        request = routes.request(index, route)
        with refusals(f"add route {route.dst} via {route.gateway} to link {index}"):
            how = nlsocket.CREATE if route.exclusive else nlsocket.ADD
            self._route.ask(_NEWROUTE, nlsocket.ACK | how, request)

    def routes(self, index: int) -> tuple[kernel.Route, ...]:
        with refusals(f"list routes of link {index}"):
            every = [each for family in _FAMILIES for each in self._routes(family)]
        return tuple(route for each in every if routes.is_unicast(each) for route in routes.shown(each, index))

    def _routes(self, family: int) -> list[Any]:
        """List the routes of one family: asked for all families at once, Linux 6.18 returns only IPv4."""
        request = nlsocket.body(rtmsg, {"family": family})
        return nlsocket.read(rtmsg, self._route.ask(_GETROUTE, nlsocket.DUMP, request))

    def global_addresses(self, without: Set[int] = frozenset()) -> tuple[tuple[int, kernel.IpInterface], ...]:
        with refusals("list addresses"):
            return tuple(
                (each.index, each.interface)
                for each in self._listed(lambda each: each not in without)
                if each.scope == 0
            )

    def source_to(self, destination: kernel.IpAddress) -> kernel.IpAddress | None:
        with refusals(f"show the route to {destination}"):
            try:
                [answer] = self._route.ask(_GETROUTE, 0, routes.lookup(destination))
            except OSError as error:
                if error.errno not in _NO_ROUTE:
                    raise
                return None
        return routes.source(answer)

    def add_neighbour(self, index: int, neighbour: kernel.Neighbour) -> None:
        with refusals(f"add neighbour {neighbour.ip} to link {index}"):
            self._route.ask(_NEWNEIGH, nlsocket.ACK | nlsocket.CREATE, neighbours.add(index, neighbour))

    def neighbours(self, index: int) -> tuple[kernel.Neighbour, ...]:
        with refusals(f"list neighbours of link {index}"):
            every = self._route.ask(_GETNEIGH, nlsocket.DUMP, neighbours.every())
        return tuple(found for each in every if (found := neighbours.shown(each, index)) is not None)

    def add_rule(self, rule: kernel.MarkRule) -> None:
        with refusals(f"add a rule for mark {rule.mark:#x}"):
            self._route.ask(_NEWRULE, nlsocket.ACK | nlsocket.CREATE, neighbours.add_rule(rule))

    def rules(self) -> tuple[kernel.MarkRule, ...]:
        with refusals("list rules"):
            every = ((version, self._rules(version)) for version in neighbours.FAMILIES)
            shown = (neighbours.shown_rule(each, version) for version, found in every for each in found)
            return tuple(each for each in shown if each is not None)

    def _rules(self, version: int) -> list[bytes]:
        return self._route.ask(_GETRULE, nlsocket.DUMP, neighbours.every_rule(version))

    # Only a network with a host link or a policy pays for nftables.

    def needs_nft(self, purpose: str) -> None:
        from sriov.linux import nftables  # noqa: PLC0415

        nftables.needed(purpose)

    def nft_comment(self, table: str, chain: str = "") -> str:
        from sriov.linux import nftables  # noqa: PLC0415

        with refusals(f"show table {table} of nftables"), self._entered():
            return nftables.comment(table, chain)

    def nft_generation(self) -> int:
        from sriov.linux import nftables  # noqa: PLC0415

        with refusals("show whether nftables has changed"), self._entered():
            return nftables.generation()

    def nft_rules(self, table: str, most: int, *, netdev: bool = True) -> tuple[bytes, ...]:
        from sriov.linux import nftables  # noqa: PLC0415

        with refusals(f"show the rules of table {table}"), self._entered():
            return nftables.rules(table, most, netdev=netdev)

    def nft_elements(self, table: str, name: str, most: int) -> frozenset[bytes]:
        from sriov.linux import nftables  # noqa: PLC0415

        with refusals(f"show set {name} of table {table}"), self._entered():
            return nftables.elements(table, name, most)

    def run_nft(self, commands: str) -> None:
        from sriov.linux import nftables  # noqa: PLC0415

        with self._entered():
            if self._where is not None:
                with refusals("show what nftables has"):
                    nftables.refuse_crowd()
            nftables.run(commands)

    def _entered(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._where is None else netns.entered(self._where)

    def _show(self, ref: kernel.LinkRef, mask: int) -> bytes:
        [found] = self._route.ask(_GETLINK, 0, links.show(ref, mask))
        return found

    def _change(self, request: bytes) -> None:
        self._route.ask(_NEWLINK, nlsocket.ACK, request)

    def rdma_is_exclusive(self) -> bool:
        with refusals("show how namespaces share RDMA devices"):
            try:
                return not self._nldev().shared()
            except OSError as error:
                return _none_without_rdma(error, False)

    def rdma_devices(self) -> tuple[kernel.RdmaDevice, ...]:
        with refusals("list RDMA devices"):
            try:
                return tuple(kernel.RdmaDevice(*each) for each in self._nldev().devices())
            except OSError as error:
                return _none_without_rdma(error, ())

    def move_rdma(self, index: int, target: netns.Netns) -> None:
        with refusals(f"move RDMA device {index} into another namespace"):
            self._nldev().move(index, target.fd)

    def rename_rdma(self, index: int, name: str) -> None:
        with refusals(f"rename RDMA device {index} to {name}"):
            self._nldev().rename(index, name)

    def _nldev(self) -> nldev.Nldev:
        """Return the RDMA socket, opened when it is first needed: a VF without RDMA device does not pay for it."""
        if self._rdma is None:
            with self._entered():
                self._rdma = nldev.Nldev()
        return self._rdma

    @contextlib.contextmanager
    def inside(self, target: netns.Netns) -> Iterator["Netlink"]:
        with netns.entered(target):
            other = Netlink(target)
        try:
            yield other
        finally:
            other.close()

    def mark(self, target: netns.Netns) -> nsid.Mark | None:
        return nsid.mark(target)

    def is_gone(self, mark: nsid.Mark) -> bool:
        return nsid.is_gone(mark)


@contextlib.contextmanager
def refusals(request: str) -> Iterator[None]:
    """Turn a refused request into a KernelError, also if there can be no socket of that kind."""
    try:
        yield
    except OSError as error:
        raise errors.KernelError(request, error.errno or errno.EIO) from error


def _ethtool() -> ethtool.Ethtool | None:
    """Return a client of ethtool's family; None if the kernel has no such family, as before 5.6."""
    try:
        return ethtool.Ethtool()
    except OSError:
        return None


def _none_without_rdma(error: OSError, none: _T) -> _T:
    """Return `none` if the error means a kernel without ib_core, which has no such socket; else raise it."""
    if error.errno != errno.EPROTONOSUPPORT:
        raise error
    return none
