"""The door to pyroute2: every request that reads or changes links (`kernel.Kernel`), and nothing that decides."""

import contextlib
import errno
import ipaddress
from collections.abc import Iterator, Set
from typing import Any, TypeVar

import pyroute2
from pyroute2.netlink.exceptions import NetlinkError

from sriov import errors, kernel, netns, nldev, nsids, routes, settings, vfinfo

_T = TypeVar("_T")

# include/uapi/linux/rtnetlink.h. Without the second flag the kernel adds every VF's counters to the answer.
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
        self._route = pyroute2.IPRoute()
        self._rdma: nldev.Nldev | None = None

    def close(self) -> None:
        self._route.close()
        if self._rdma is not None:
            self._rdma.close()

    def link(self, ref: kernel.LinkRef) -> kernel.Link:
        with refusals(f"show link {ref}"):
            found = self._route.link("get", **_by(ref))
        return _link(found[0])

    def links(self) -> tuple[kernel.Link, ...]:
        with refusals("list links"):
            return tuple(_link(message) for message in self._route.link("dump"))

    def set_link(self, ref: kernel.LinkRef, change: kernel.Change) -> None:
        request: dict[str, Any] = {key: getattr(change, key) for key in ("address", "mtu")}
        flags = {bit: getattr(change, name) for name, bit in _FLAGS.items() if getattr(change, name) is not None}
        if flags:
            request["change"] = sum(flags)
            request["flags"] = sum(bit for bit, on in flags.items() if on)
        request = {key: value for key, value in request.items() if value is not None}
        with refusals(f"set {change} on link {ref}"):
            self._route.link("set", **_by(ref), **request)

    def rename(self, index: int, name: str) -> None:
        with refusals(f"rename link {index} to {name}"):
            self._route.link("set", index=index, ifname=name)

    def drop_altname(self, index: int, name: str) -> None:
        with refusals(f"drop altname {name} of link {index}"):
            self._route.link("property_del", index=index, altname=name)

    def move(self, index: int, target: netns.Netns, name: str) -> None:
        with refusals(f"move link {index} into another namespace as {name}"):
            self._route.link("set", index=index, net_ns_fd=target.fd, ifname=name)

    def set_vf(self, pf: int, vf: int, wanted: settings.VfSettings, which: Set[settings.Setting]) -> None:
        names = ", ".join(sorted(f"{each.value} {wanted.value(each)}" for each in which))
        with refusals(f"set {names} on VF {vf} of link {pf}"):
            self._route.link("set", index=pf, vf=vfinfo.request(vf, wanted, which))

    def vf(self, pf: int, vf: int) -> settings.VfSettings:
        request = f"show VF {vf} of link {pf}"
        with refusals(request):
            found = self._route.link("get", index=pf, ext_mask=_RTEXT_FILTER_VF | _RTEXT_FILTER_SKIP_STATS)
        if not found:  # larger than what asyncio receives in one go, 256 KiB
            raise errors.KernelError(request, errno.EMSGSIZE, _TOO_MANY)
        info = vfinfo.of(found[0], vf)
        if info is None and vfinfo.breaks_off_before(found[0], vf):
            raise errors.KernelError(request, errno.EMSGSIZE, _TOO_MANY)
        if info is None:
            raise errors.KernelError(request, errno.EINVAL)
        return vfinfo.shown(info)

    def add_address(self, index: int, address: kernel.IpInterface) -> None:
        with refusals(f"add address {address} to link {index}"):
            self._route.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)

    def addresses(self, index: int) -> tuple[kernel.IpInterface, ...]:
        with refusals(f"list addresses of link {index}"):
            found = list(self._route.addr("dump", index=index))
        usable = (each for each in found if not (each.get_attr("IFA_FLAGS") or 0) & _DAD_FAILED)
        pairs = ((each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS"), each["prefixlen"]) for each in usable)
        return tuple(ipaddress.ip_interface(f"{address}/{length}") for address, length in pairs)

    def add_route(self, index: int, route: kernel.Route) -> None:
        with refusals(f"add route {route.dst} via {route.gateway} to link {index}"):
            self._route.route("add", oif=index, **routes.request(route))

    def routes(self, index: int) -> tuple[kernel.Route, ...]:
        with refusals(f"list routes of link {index}"):
            found = list(self._route.route("dump", oif=index))
        return tuple(routes.shown(message) for message in found if message["type"] == 1)  # RTN_UNICAST

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
    """What pyroute2 raises becomes a KernelError, also where there can be no socket of that kind."""
    try:
        yield
    except NetlinkError as error:
        raise errors.KernelError(request, error.code) from error
    except OSError as error:
        raise errors.KernelError(request, error.errno or errno.EIO) from error


def _none_without_rdma(error: OSError, none: _T) -> _T:
    """A kernel without ib_core knows no such socket; then there is nothing to ask."""
    if error.errno != errno.EPROTONOSUPPORT:
        raise error
    return none


def _by(ref: kernel.LinkRef) -> dict[str, kernel.LinkRef]:
    return {"index": ref} if isinstance(ref, int) else {"ifname": ref}


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
