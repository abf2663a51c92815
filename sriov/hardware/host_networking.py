"""Netdevs that carry the host's own traffic, so that no pod is ever given their device.

Routes and addresses are those of the calling process's network namespace. They come from rtnetlink if `proc` is this
kernel's (host_tables), and from /proc/net (Documentation/filesystems/proc.rst; formats in the kernel's
net/ipv4/fib_trie.c, net/ipv6/route.c and addrconf.c), which may be all that a container's rules leave.
"""

import enum
import functools
import logging
import pathlib
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from sriov.hardware import host_tables, sysfs

_log = logging.getLogger(__name__)

_REJECT = 0x0200  # RTF_REJECT, include/uapi/linux/route.h: an "unreachable" route, as IPv6 has on lo
_UP = 0x0001  # RTF_UP


class Use(enum.Enum):
    """How the host uses a netdev."""

    DEFAULT_ROUTE = "default route"
    PART = "part of another netdev"
    ADDRESS = "address"


class HostUse(msgspec.Struct, frozen=True):
    """`text` completes "it is the host's: "."""

    use: Use
    text: str


def routed(proc: pathlib.Path) -> Mapping[str, HostUse]:
    """Return the host's netdevs with a default route, or else an address; link-local addresses do not count."""
    listed = _listed(proc)
    found: dict[str, HostUse] = {}
    for name in (*_routed(listed), *_addressed(proc)):
        found[name] = HostUse(Use.ADDRESS, f"{name} has an address of the host")
    for index, address in listed.addresses:
        if holder := _name(index):
            found[holder] = HostUse(Use.ADDRESS, f"{holder} has the host's address {address}")
    for version, name in (*_default_hops(listed), *_default_routes(proc)):
        found[name] = HostUse(Use.DEFAULT_ROUTE, f"{name} carries the host's default route (IPv{version})")
    return found


def _listed(proc: pathlib.Path) -> host_tables.Tables:
    """Return what the kernel lists; nothing if `proc` is a folder of files, which no kernel is behind."""
    if not (proc / "thread-self/ns/net").exists():
        return host_tables.Tables()
    try:
        return host_tables.read()
    except OSError as error:
        _complain(str(error))
        return host_tables.Tables()


@functools.cache
def _complain(problem: str) -> None:
    """Log a problem once for each process: a node is read every half minute."""
    _log.warning("the kernel does not list the host's addresses and routes, /proc/net has only some: %s", problem)


def _routed(listed: host_tables.Tables) -> Iterator[str]:
    return (name for index, network in listed.routes if network.prefixlen and (name := _name(index)))


def _default_hops(listed: host_tables.Tables) -> Iterator[tuple[int, str]]:
    for index, network in listed.routes:
        if not network.prefixlen and (name := _name(index)):
            yield network.version, name


def _name(index: int) -> str | None:
    try:
        return socket.if_indextoname(index)
    except OSError:  # the netdev has just gone
        return None


def part_of(folder: str, name: str) -> HostUse | None:
    """Report whether a netdev is a port or lower device of a bond, bridge, team or VLAN. `folder` is in sysfs."""
    master = sysfs.target(f"{folder}/master")
    if master is not None:
        return HostUse(Use.PART, f"{name} is a port of {master}")
    for entry in sysfs.names(folder):
        if entry.startswith("upper_"):
            return HostUse(Use.PART, f"{entry.removeprefix('upper_')} stands on {name}")
    return None


def _default_routes(proc: pathlib.Path) -> Iterator[tuple[int, str]]:
    for name, destination, _gateway, flags, _, _, _, mask in _rows(proc / "net/route", 8):
        if _is_zero(destination) and _is_zero(mask) and int(flags, 16) & (_UP | _REJECT) == _UP:
            yield 4, name
    for destination, length, _, _, _, _, _, _, flags, name in _rows(proc / "net/ipv6_route", 10):
        if _is_zero(destination) and _is_zero(length) and not int(flags, 16) & _REJECT:
            yield 6, name


def _addressed(proc: pathlib.Path) -> Iterator[str]:
    for name, destination, *_ in _rows(proc / "net/route", 8):
        if not _is_zero(destination):
            yield name
    for _address, _index, _length, scope, _flags, name in _rows(proc / "net/if_inet6", 6):
        if _is_zero(scope):  # global; 0x20 is link-local
            yield name


def _is_zero(text: str) -> bool:
    return int(text, 16) == 0


def _rows(path: pathlib.Path, columns: int) -> Iterator[list[str]]:
    """Yield the table's rows, cut to `columns`. A heading, or a row that is cut off, is left out."""
    for line in _lines(path):
        row = line.split()[:columns]
        if len(row) == columns and row[0] != "Iface":
            yield row


def _lines(path: pathlib.Path) -> Iterable[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ()


Lookup = Callable[[str, str], HostUse | None]


def finder(proc: pathlib.Path) -> Lookup:
    """Read the tables once; returns a function of a netdev's name and its folder in sysfs."""
    known = routed(proc)

    def use(name: str, folder: str) -> HostUse | None:
        return known.get(name) or part_of(folder, name)

    return use
