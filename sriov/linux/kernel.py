"""Kernel protocol: the requests this project makes of a kernel, and the values in requests and answers. Pure.

`netlink.Netlink` is the kernel of this machine; the tests have one in memory, and one contract suite runs on both.
Links are addressed by index, or by name if the index is not known yet.
"""

import ipaddress
from collections.abc import Mapping, Set
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from sriov import settings
from sriov.linux import netns, nsid

IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

EVERYWHERE_4 = ipaddress.ip_network("0.0.0.0/0")
EVERYWHERE_6 = ipaddress.ip_network("::/0")


class Link(msgspec.Struct, frozen=True):
    """A netdev as one namespace sees it. `parent` is its PCI address if the kernel reports it (from 5.14 on).

    `running`: it is up and has a carrier. `enslaved`: a bond, a team, a bridge or a VRF is above it. `kind` is a
    virtual link's, as in `veth`.
    """

    index: int
    name: str
    address: str
    mtu: int
    up: bool
    parent: str | None
    altnames: tuple[str, ...] = ()
    promisc: bool = False
    allmulti: bool = False
    noarp: bool = False
    running: bool = False
    enslaved: bool = False
    kind: str = ""


class End(msgspec.Struct, frozen=True):
    """One end of a veth pair that is to be made."""

    name: str
    address: str


class Change(msgspec.Struct, frozen=True):
    """Changes to a link; an attribute that is None stays. The kernel applies address, MTU, then the flags.

    `link_local`: whether it gets an IPv6 address of the kernel's choice when it comes up the next time.
    """

    address: str | None = None
    mtu: int | None = None
    up: bool | None = None
    promisc: bool | None = None
    allmulti: bool | None = None
    noarp: bool | None = None
    link_local: bool | None = None


NOTHING = Change()


class Route(msgspec.Struct, frozen=True):
    """One route to add. `None` leaves the kernel's default; `mtu` and `advmss` in bytes.

    `onlink`: the gateway is behind the link, whatever the other routes say. `exclusive`: EEXIST if another link has a
    route to `dst` already, whose place it could take. Nothing but `dst` to `table` is read back.
    """

    dst: IpNetwork
    gateway: IpAddress | None = None
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None
    source: IpAddress | None = None
    onlink: bool = False
    exclusive: bool = False


class Neighbour(msgspec.Struct, frozen=True):
    """A permanent neighbour: nobody asks for its MAC."""

    ip: IpAddress
    address: str


class MarkRule(msgspec.Struct, frozen=True):
    """Packets of this IP version and mark are routed by the table."""

    version: int
    mark: int
    table: int
    priority: int


class RdmaDevice(msgspec.Struct, frozen=True):
    """An RDMA device as in `mlx5_2`. Its index lasts as long as its driver is bound; anybody may change its name."""

    index: int
    name: str


LinkRef = int | str
"""A link's index, or its name."""

LinkState = Mapping[str, bytes]
"""All settings of a netdev by name (netdev_settings), as the kernel shows them; an absent setting has no entry."""


class Kernel(Protocol):
    """Requests in one network namespace. Every one raises KernelError if the kernel refuses."""

    def link(self, ref: LinkRef) -> Link: ...

    def links(self) -> tuple[Link, ...]: ...

    def add_pair(self, here: End, there: End, target: netns.Netns) -> None:
        """Make a veth pair, down, with one end here and the other in `target`, in one request. EEXIST: a taken name."""

    def delete_link(self, index: int) -> None:
        """Delete a virtual link, a pair with both ends. ENODEV if there is none."""

    def set_link(self, ref: LinkRef, change: Change) -> None:
        """Apply the whole change in one request."""

    def rename(self, index: int, name: str) -> None: ...

    def release_name(self, name: str) -> None:
        """Give the link that is called `name` a name of the kernel's choice, in one step. ENODEV if there is none."""

    def drop_altname(self, index: int, name: str) -> None: ...

    def state(self, index: int, known: LinkState | None = None) -> LinkState:
        """Read all settings of a link; of ethtool's only the messages in `known`: no others were answered then."""

    def look(self, index: int, known: LinkState | None = None) -> tuple[Link, LinkState]:
        """Read a link and its `state`, with one request for both."""

    def restore(self, index: int, name: str, wanted: LinkState, found: LinkState) -> None:
        """Set one group of settings (netdev_settings.group) back from what was `found` to what is `wanted`."""

    def move(self, index: int, target: netns.Netns, name: str, change: Change = NOTHING) -> None:
        """Move into `target`, change and rename, in one request. A refusal may come after the move, or half way."""

    def set_vf(self, pf: int, vf: int, wanted: settings.VfSettings, which: Set[settings.Setting]) -> None:
        """State these settings of the PF's VF in one request. After a refusal some of them may have been applied."""

    def vf(self, pf: int, vf: int) -> settings.VfSettings:
        """Read one VF back. The kernel reads all VFs of the PF for it under its global lock: not for the hot path.

        EMSGSIZE if the PF has so many VFs that the kernel's answer breaks off before this one.
        """

    def add_address(self, index: int, address: IpInterface) -> None:
        """Add it with its broadcast address. EACCES for an IPv6 address of a link whose `disable_ipv6` is set."""

    def addresses(self, index: int) -> tuple[IpInterface, ...]:
        """Return the link's addresses, without an IPv6 address that a neighbour proved to have (RFC 4862, 5.4)."""

    def pending(self, index: int) -> tuple[IpInterface, ...]:
        """Return the addresses that no program can use yet: duplicate detection still runs (RFC 4862, 5.4)."""

    def add_route(self, index: int, route: Route) -> None:
        """Add it beside other routes of this destination. EEXIST if there is an identical one."""

    def routes(self, index: int) -> tuple[Route, ...]:
        """Return destination, gateway, priority and table of the link's unicast routes."""

    def global_addresses(self, without: Set[int] = frozenset()) -> tuple[tuple[int, IpInterface], ...]:
        """Return every address of global scope in this namespace, with its link's index; `without` these links."""

    def source_to(self, destination: IpAddress) -> IpAddress | None:
        """Return the address from which this namespace would send there; None if it has no route."""

    def add_neighbour(self, index: int, neighbour: Neighbour) -> None: ...

    def neighbours(self, index: int) -> tuple[Neighbour, ...]:
        """Return the link's permanent neighbours."""

    def add_rule(self, rule: MarkRule) -> None: ...

    def rules(self) -> tuple[MarkRule, ...]:
        """Return the rules by mark."""

    def needs_nft(self, purpose: str) -> None:
        """Raise UnsupportedError if the machine has no libnftables."""

    def nft_comment(self, table: str, chain: str = "") -> str:
        """Return the comment of an inet table of nftables, or of a chain in it; "" without one, or if it is not there.

        A chain without rules can be replaced within a transaction, and its comment with it; a table's comment stays.
        """

    def nft_generation(self) -> int:
        """Return a number that is another one after each change of nftables in this namespace, whoever makes it."""

    def nft_rules(self, table: str, most: int, *, netdev: bool = True) -> tuple[bytes, ...]:
        """Return the rules of the inet table of this name, and of the netdev table unless that does not matter, as the
        kernel shows them, in order: no more than the first `most`, as root in a pod can add any number.

        A table that is switched off has none.
        """

    def nft_elements(self, table: str, name: str, most: int) -> frozenset[bytes]:
        """Return the keys in a set of an inet table, no more than `most`; none if there is no such set."""

    def run_nft(self, commands: str) -> None:
        """Apply nft's commands in one transaction. SriovError if a pod has so much in its namespace that it would take
        too long."""

    def rdma_is_exclusive(self) -> bool:
        """Report whether every RDMA device is in one namespace only, as after `rdma system set netns exclusive`."""

    def rdma_devices(self) -> tuple[RdmaDevice, ...]:
        """Return the devices that this namespace may use; none if the kernel has no RDMA."""

    def move_rdma(self, index: int, target: netns.Netns) -> None:
        """Move it into `target`; what programs have open on it ends. EOPNOTSUPP if its driver cannot do that."""

    def rename_rdma(self, index: int, name: str) -> None:
        """Rename it. EEXIST if any device of the machine has that name."""

    def inside(self, target: netns.Netns) -> AbstractContextManager["Kernel"]:
        """Yield the same requests in another namespace; nothing of that namespace is held afterwards."""

    def mark(self, target: netns.Netns) -> nsid.Mark | None:
        """Return what later shows whether the namespace still exists, without holding it; None if nothing can."""

    def is_gone(self, mark: nsid.Mark) -> bool:
        """Report whether the namespace is certainly destroyed."""
