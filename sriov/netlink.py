"""The door to pyroute2: every request that reads or changes links (`kernel.Kernel`), and nothing that decides."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterator, Set
from typing import Any, TypeVar

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from sriov import errors, kernel, netns, nldev, nlmessages, nlsocket, nsids, routes, settings, vfinfo

_T = TypeVar("_T")

# include/uapi/linux/rtnetlink.h
_NEWLINK, _GETLINK, _DELLINKPROP = 16, 18, 109
_NEWADDR, _GETADDR = 20, 22
_NEWROUTE, _GETROUTE = 24, 26
# Without the second flag the kernel adds every VF's counters to the answer, and the link's own.
_RTEXT_FILTER_VF = 1
_RTEXT_FILTER_SKIP_STATS = 8
_FLAGS = {"up": 0x1, "promisc": 0x100, "allmulti": 0x200, "noarp": 0x80}  # IFF_*, include/uapi/linux/if.h
_DAD_FAILED = 0x08  # IFA_F_DADFAILED, include/uapi/linux/if_addr.h

_TOO_MANY = "the kernel can show about 330 VFs of one PF, and this one has more: create fewer"


class Netlink:
    """The machine's kernel. One instance belongs to one thread and to the namespace that it was made in.

    `where` is that namespace, if it is not the thread's own; whoever gives it keeps it open.
    """

    def __init__(self, where: netns.Netns | None = None) -> None:
        self._where = where
        self._route = nlsocket.Socket(nlsocket.ROUTE)
        self._rdma: nldev.Nldev | None = None

    def close(self) -> None:
        self._route.close()
        if self._rdma is not None:
            self._rdma.close()

    def link(self, ref: kernel.LinkRef) -> kernel.Link:
        with refusals(f"show link {ref}"):
            return _link(self._show(ref, _RTEXT_FILTER_SKIP_STATS))

    def links(self) -> tuple[kernel.Link, ...]:
        asked = [("IFLA_EXT_MASK", _RTEXT_FILTER_SKIP_STATS)]
        with refusals("list links"):
            return tuple(map(_link, self._ask(ifinfmsg, _GETLINK, nlsocket.DUMP, {}, asked)))

    def set_link(self, ref: kernel.LinkRef, change: kernel.Change) -> None:
        every = [("IFLA_ADDRESS", change.address), ("IFLA_MTU", change.mtu)]
        flags = {bit: getattr(change, name) for name, bit in _FLAGS.items() if getattr(change, name) is not None}
        with refusals(f"set {change} on link {ref}"):
            self._set(
                ref,
                [each for each in every if each[1] is not None],
                change=sum(flags),
                flags=sum(bit for bit, on in flags.items() if on),
            )

    def rename(self, index: int, name: str) -> None:
        with refusals(f"rename link {index} to {name}"):
            self._set(index, [("IFLA_IFNAME", name)])

    def drop_altname(self, index: int, name: str) -> None:
        dropped = [("IFLA_PROP_LIST", {"attrs": [("IFLA_ALT_IFNAME", name)]})]
        with refusals(f"drop altname {name} of link {index}"):
            self._ask(ifinfmsg, _DELLINKPROP, nlsocket.ACK, {"index": index}, dropped)

    def move(self, index: int, target: netns.Netns, name: str) -> None:
        with refusals(f"move link {index} into another namespace as {name}"):
            self._set(index, [("IFLA_NET_NS_FD", target.fd), ("IFLA_IFNAME", name)])

    def set_vf(self, pf: int, vf: int, wanted: settings.VfSettings, which: Set[settings.Setting]) -> None:
        names = ", ".join(sorted(f"{each.value} {wanted.value(each)}" for each in which))
        with refusals(f"set {names} on VF {vf} of link {pf}"):
            self._set(pf, [("IFLA_VFINFO_LIST", vfinfo.request(vf, wanted, which))])

    def vf(self, pf: int, vf: int) -> settings.VfSettings:
        request = f"show VF {vf} of link {pf}"
        with refusals(request):
            found = self._show(pf, _RTEXT_FILTER_VF | _RTEXT_FILTER_SKIP_STATS)
        info = vfinfo.of(found, vf)
        if info is None and vfinfo.breaks_off_before(found, vf):
            raise errors.KernelError(request, errno.EMSGSIZE, _TOO_MANY)
        if info is None:
            raise errors.KernelError(request, errno.EINVAL)
        return vfinfo.shown(info)

    def add_address(self, index: int, address: kernel.IpInterface) -> None:
        fields = {"family": _family(address), "prefixlen": address.network.prefixlen, "index": index}
        kinds = ("IFA_LOCAL", "IFA_ADDRESS") if address.version == 4 else ("IFA_ADDRESS",)
        with refusals(f"add address {address} to link {index}"):
            create = nlsocket.ACK | nlsocket.CREATE
            self._ask(ifaddrmsg, _NEWADDR, create, fields, [(kind, str(address.ip)) for kind in kinds])

    def addresses(self, index: int) -> tuple[kernel.IpInterface, ...]:
        with refusals(f"list addresses of link {index}"):
            every = self._ask(ifaddrmsg, _GETADDR, nlsocket.DUMP, {})
        found = (each for each in every if each["index"] == index)
        usable = (each for each in found if not (each.get_attr("IFA_FLAGS") or 0) & _DAD_FAILED)
        pairs = ((each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS"), each["prefixlen"]) for each in usable)
        return tuple(ipaddress.ip_interface(f"{address}/{length}") for address, length in pairs)

    def add_route(self, index: int, route: kernel.Route) -> None:
        fields, attributes = routes.request(index, route)
        with refusals(f"add route {route.dst} via {route.gateway} to link {index}"):
            self._ask(rtmsg, _NEWROUTE, nlsocket.ACK | nlsocket.CREATE, fields, attributes)

    def routes(self, index: int) -> tuple[kernel.Route, ...]:
        with refusals(f"list routes of link {index}"):
            found = self._ask(rtmsg, _GETROUTE, nlsocket.DUMP, {})
        return tuple(
            routes.shown(each) for each in found if routes.is_unicast(each) and each.get_attr("RTA_OIF") == index
        )

    def _show(self, ref: kernel.LinkRef, mask: int) -> Any:
        index, name = _by(ref)
        [found] = self._ask(ifinfmsg, _GETLINK, 0, index, [*name, ("IFLA_EXT_MASK", mask)])
        return found

    def _set(self, ref: kernel.LinkRef, attributes: nlmessages.Attributes, **fields: int) -> None:
        index, name = _by(ref)
        self._ask(ifinfmsg, _NEWLINK, nlsocket.ACK, {**index, **fields}, [*name, *attributes])

    def _ask(
        self, shape: Any, kind: int, flags: int, fields: nlmessages.Fields, attributes: nlmessages.Attributes = ()
    ) -> list[Any]:
        return nlmessages.ask(self._route, shape, kind, flags, fields=fields, attributes=attributes)

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
        """Opened when it is needed: a VF without an RDMA device does not pay for it."""
        if self._rdma is None:
            with contextlib.nullcontext() if self._where is None else netns.entered(self._where):
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

    def mark(self, target: netns.Netns) -> nsids.Mark | None:
        return nsids.mark(target)

    def is_gone(self, mark: nsids.Mark) -> bool:
        return nsids.is_gone(mark)


@contextlib.contextmanager
def refusals(request: str) -> Iterator[None]:
    """A request that is refused becomes a KernelError, also where there can be no socket of that kind."""
    try:
        yield
    except OSError as error:
        raise errors.KernelError(request, error.errno or errno.EIO) from error


def _none_without_rdma(error: OSError, none: _T) -> _T:
    """A kernel without ib_core knows no such socket; then there is nothing to ask."""
    if error.errno != errno.EPROTONOSUPPORT:
        raise error
    return none


def _by(ref: kernel.LinkRef) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Which link a request is about: the field or the attribute that says so."""
    return ({"index": ref}, []) if isinstance(ref, int) else ({}, [("IFLA_IFNAME", ref)])


def _family(address: kernel.IpInterface) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _link(message: Any) -> kernel.Link:
    properties = message.get_attr("IFLA_PROP_LIST")
    bus = message.get_attr("IFLA_PARENT_DEV_BUS_NAME")
    return kernel.Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        address=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU"),
        **{name: bool(message["flags"] & bit) for name, bit in _FLAGS.items()},
        parent=message.get_attr("IFLA_PARENT_DEV_NAME") if bus == "pci" else None,
        altnames=tuple(properties.altnames()) if properties else (),
    )
