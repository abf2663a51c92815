"""What the project asks of a kernel, and what it hears back: values and one Protocol, nothing that acts.

`netlink.Netlink` is the kernel of this machine; the tests have one in memory, and one contract suite runs on both.
Links are addressed by index, or by name where the index is not known yet.
"""

import dataclasses
import ipaddress
from collections.abc import Mapping, Set
from contextlib import AbstractContextManager
from typing import Protocol

from sriov import settings
from sriov.linux import netns, nsid

IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

EVERYWHERE_4 = ipaddress.ip_network("0.0.0.0/0")
EVERYWHERE_6 = ipaddress.ip_network("::/0")


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A netdev as one namespace sees it. `parent` is its PCI address where the kernel says so (from 5.14 on).

    `running`: it is up and has a carrier. `enslaved`: a bond, a team, a bridge or a VRF is above it.
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


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What to set on a link; what is None stays. The kernel applies address, MTU, then the flags."""

    address: str | None = None
    mtu: int | None = None
    up: bool | None = None
    promisc: bool | None = None
    allmulti: bool | None = None
    noarp: bool | None = None


NOTHING = Change()


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """One route to add. `None` leaves the kernel's default; `mtu` and `advmss` in bytes."""

    dst: IpNetwork
    gateway: IpAddress | None = None
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RdmaDevice:
    """An RDMA device as in `mlx5_2`. Its index stays as long as its driver; its name is anybody's to change."""

    index: int
    name: str


LinkRef = int | str
"""A link's index, or its name."""

LinkState = Mapping[str, bytes]
"""All settings of a netdev by name, as the kernel shows them: netdevstate has the names, what is not there has none."""


class Kernel(Protocol):
    """Requests in one network namespace. Every one raises KernelError when the kernel refuses."""

    def link(self, ref: LinkRef) -> Link: ...

    def links(self) -> tuple[Link, ...]: ...

    def set_link(self, ref: LinkRef, change: Change) -> None:
        """All of the change in one request."""

    def rename(self, index: int, name: str) -> None: ...

    def release_name(self, name: str) -> None:
        """Whatever link is called `name` gets a name of the kernel's choice, in one step. ENODEV where none is."""

    def drop_altname(self, index: int, name: str) -> None: ...

    def state(self, index: int, known: LinkState | None = None) -> LinkState:
        """All settings of a link. Of ethtool's, those messages that `known` has, since no others were answered then."""

    def restore(self, index: int, name: str, wanted: LinkState, found: LinkState) -> None:
        """Set one group of settings (netdevstate.group) back from what was `found` to what is `wanted`."""

    def move(self, index: int, target: netns.Netns, name: str, change: Change = NOTHING) -> None:
        """Move into `target`, change and rename, in one request. A refusal may come after the move, or half way."""

    def set_vf(self, pf: int, vf: int, wanted: settings.VfSettings, which: Set[settings.Setting]) -> None:
        """State these settings of the PF's VF in one request. After a refusal some of them may have been applied."""

    def vf(self, pf: int, vf: int) -> settings.VfSettings:
        """Read one VF back. The kernel gathers all VFs of the PF for it under its global lock: not for the hot path.

        EMSGSIZE where the PF has so many that the kernel's answer breaks off before this one.
        """

    def add_address(self, index: int, address: IpInterface) -> None:
        """With its broadcast address. EACCES for an IPv6 address of a link whose `disable_ipv6` is set."""

    def addresses(self, index: int) -> tuple[IpInterface, ...]:
        """Those that the link has, without an IPv6 address that a neighbour turned out to have (RFC 4862, 5.4)."""

    def pending(self, index: int) -> tuple[IpInterface, ...]:
        """Those that no program can use yet: IPv6's duplicate detection has not ended (RFC 4862, 5.4)."""

    def add_route(self, index: int, route: Route) -> None:
        """Beside others of this destination. EEXIST where there is the very same."""

    def routes(self, index: int) -> tuple[Route, ...]:
        """Destination, gateway, priority and table of the link's unicast routes."""

    def rdma_is_exclusive(self) -> bool:
        """Whether every RDMA device is in one namespace alone, as after `rdma system set netns exclusive`."""

    def rdma_devices(self) -> tuple[RdmaDevice, ...]:
        """What this namespace may use; nothing where the kernel has no RDMA."""

    def move_rdma(self, index: int, target: netns.Netns) -> None:
        """Move into `target`; what programs have open on it ends. EOPNOTSUPP where its driver cannot do that."""

    def rename_rdma(self, index: int, name: str) -> None:
        """EEXIST where any device of the machine has that name."""

    def inside(self, target: netns.Netns) -> AbstractContextManager["Kernel"]:
        """The same requests in another namespace, until the context ends; nothing of it is held afterwards."""

    def mark(self, target: netns.Netns) -> nsid.Mark | None:
        """What tells later whether the namespace still exists, without holding it; None where nothing does."""

    def is_gone(self, mark: nsid.Mark) -> bool:
        """Whether the namespace is destroyed, for certain."""
