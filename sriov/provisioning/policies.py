"""Policies of the provisioning file as frozen values, and which PFs a selector takes. Pure; `document` reads them."""

import msgspec

from sriov import devices, settings
from sriov.provisioning import model

DEFAULT_DRIVER = "default"
"""As a VF's driver: the one that the kernel chooses, so that the VF has a netdev."""


class PfSelector(msgspec.Struct, frozen=True):
    """Values inside a key are alternatives, keys must all hold, an empty one is no constraint. All refer to the PF."""

    pf_names: frozenset[str] = frozenset()
    pci_addresses: frozenset[str] = frozenset()
    vendors: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    drivers: frozenset[str] = frozenset()

    def takes(self, pf: model.Pf) -> bool:
        pairs = (
            (self.pf_names, pf.netdev),
            (self.pci_addresses, pf.pci),
            (self.vendors, pf.vendor),
            (self.devices, pf.device),
            (self.drivers, pf.driver),
        )
        return all(not wanted or value in wanted for wanted, value in pairs)


class MacRange(msgspec.Struct, frozen=True):
    """Unicast addresses from `first` to `last`, both included, as numbers."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __getitem__(self, number: int) -> str:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return (self.first + number).to_bytes(6, "big").hex(":")

    def overlaps(self, other: "MacRange") -> bool:
        return self.first <= other.last and other.first <= self.last


class PfPolicy(msgspec.Struct, frozen=True):
    """One entry of the file. A setting that is None stays as it is. `mtu` in bytes, of the PF and of its VFs."""

    name: str
    selector: PfSelector
    numvfs: int
    driver: str | None = None
    mtu: int | None = None
    eswitch: devices.EswitchMode | None = None
    trust: bool | None = None
    spoofchk: bool | None = None
    macs: MacRange | None = None

    @property
    def declared(self) -> settings.Switches:
        """Defaults of each VF for settings that a pod's network does not name."""
        return settings.Switches(trust=self.trust, spoofchk=self.spoofchk)

    @property
    def of_vfs(self) -> bool:
        """Whether the policy sets anything on each VF."""
        return (self.driver, self.mtu, self.trust, self.spoofchk, self.macs) != (None,) * 5
