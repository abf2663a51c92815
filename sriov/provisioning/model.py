"""Model of a node for provisioning, as frozen values. Nothing here reads or changes anything."""

import msgspec

from sriov import devices, settings


class Binding(msgspec.Struct, frozen=True):
    """Driver of a VF, None for none; `override` is the driver that it is reserved for (driver_override)."""

    driver: str | None
    override: str | None

    def __str__(self) -> str:
        return self.override or self.driver or "none"


class Vf(msgspec.Struct, frozen=True):
    """A VF as it is. `netdev`, `mtu` and `address` are None if it has no netdev in the host.

    `shown` is what its PF reports of it, `declared` are its defaults for the CNI; each is None if it cannot be read.
    `user` is who uses it, None if nobody does. `without_netdev`: its driver has brought no netdev in any namespace.
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


class Pf(msgspec.Struct, frozen=True):
    """A PF with its VFs in index order. `autoprobe`: whether the kernel binds a new VF to a driver by itself.

    `netdev` and `mtu` are None without a netdev, `eswitch` if the card has no switch that can be asked.
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
        """Return the PF's or VF's name, as the device plugin writes it."""
        return self.name if vf is None else f"{self.name}#{vf}"

    @property
    def in_use(self) -> tuple[Vf, ...]:
        return tuple(vf for vf in self.vfs if vf.user)


class NodeFacts(msgspec.Struct, frozen=True):
    """PFs in PCI order; `drivers` are the PCI drivers that the kernel has loaded."""

    pfs: tuple[Pf, ...]
    drivers: frozenset[str]
