"""Which netdevs carry the host's own traffic, so that no pod may ever be given their device.

Routes and addresses are those of the network namespace of whoever asks: by rtnetlink where `proc` is this kernel's
(hosttables), and by what is in /proc/net (Documentation/filesystems/proc.rst; formats in the kernel's
net/ipv4/fib_trie.c, net/ipv6/route.c and addrconf.c), where a container's rules may leave nothing else.
"""

import dataclasses
import enum
import functools
import logging
import pathlib
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping

from sriov.hardware import host_tables, sysfs

_log = logging.getLogger(__name__)

_REJECT = 0x0200  # RTF_REJECT, include/uapi/linux/route.h: an "unreachable" route, as IPv6 has on lo
_UP = 0x0001  # RTF_UP


class Use(enum.Enum):
    """How the host uses a netdev."""

    DEFAULT_ROUTE = "default route"
    PART = "part of another netdev"
    ADDRESS = "address"


@dataclasses.dataclass(frozen=True, slots=True)
class HostUse:
    """`text` completes "it is the host's: "."""

    use: Use
    text: str


def routed(proc: pathlib.Path) -> Mapping[str, HostUse]:
    """The netdevs with a default route, or else an address, of the host; link-local ones do not count."""
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
    """What the kernel lists; nothing where `proc` is a folder of files, which tell of no kernel."""
    if not (proc / "thread-self/ns/net").exists():
        return host_tables.Tables()
    try:
        return host_tables.read()
    except OSError as error:
        _complain(str(error))
        return host_tables.Tables()


@functools.cache
def _complain(problem: str) -> None:
    """Once a process and problem: a node is looked at every half minute."""
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
    except OSError:  # it went just now
        return None


def part_of(folder: str, name: str) -> HostUse | None:
    """Whether a netdev is the port or the lower device of another: bond, bridge, team, VLAN. `folder` is sysfs's."""
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
    """The table's rows, the first so many columns. A heading, or a row that is cut off, is none."""
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
    """Reads the tables once; what it returns takes a netdev's name and its folder in sysfs."""
    known = routed(proc)

    def use(name: str, folder: str) -> HostUse | None:
        return known.get(name) or part_of(folder, name)

    return use
