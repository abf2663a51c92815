"""What provisioning has to know of a node, as frozen values. Nothing here reads or changes anything."""

import dataclasses

from sriov import devices, settings


@dataclasses.dataclass(frozen=True, slots=True)
class Binding:
    """Which driver has a VF, None for none; `override` is the one that it is kept for (driver_override)."""

    driver: str | None
    override: str | None

    def __str__(self) -> str:
        return self.override or self.driver or "none"


@dataclasses.dataclass(frozen=True, slots=True)
class Vf:
    """A VF as it is. `netdev`, `mtu` and `address` are None where it has no netdev in the host.

    `shown` is what its PF says of it, `declared` what was written down of it for the CNI, each None where it cannot be
    read. `user` says who uses it, None where nobody does. `without_netdev`: its driver has brought none, anywhere.
    """

    index: int
    pci: devices.PciAddress
    binding: Binding
    netdev: str | None = None
    mtu: int | None = None
    address: str | None = None
    shown: settings.VfSettings | None = None
    declared: settings.Switches | None = settings.UNNAMED
    user: str | None = None
    without_netdev: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Pf:
    """A PF with its VFs in index order. `autoprobe`: whether a new VF is given to a driver by itself.

    `netdev` and `mtu` are None without a netdev, `eswitch` where the card has no switch that can be asked.
    """

    pci: devices.PciAddress
    vendor: str
    device: str
    driver: str | None
    netdev: str | None
    mtu: int | None
    up: bool
    totalvfs: int
    autoprobe: bool
    eswitch: devices.EswitchMode | None
    vfs: tuple[Vf, ...]

    @property
    def name(self) -> str:
        return self.netdev or self.pci

    def label(self, vf: int | None = None) -> str:
        """As the device plugin writes it."""
        return self.name if vf is None else f"{self.name}#{vf}"

    @property
    def in_use(self) -> tuple[Vf, ...]:
        return tuple(vf for vf in self.vfs if vf.user)


@dataclasses.dataclass(frozen=True, slots=True)
class NodeFacts:
    """PFs in PCI order; `drivers` are those that the kernel has loaded for PCI devices."""

    pfs: tuple[Pf, ...]
    drivers: frozenset[str]
