"""Identity of a VF: its name, its own address and its netdev's settings, from when the daemon first saw it.

What a VF shows later may be a former owner's choice: a driver makes an administered MAC the netdev's own when it is
bound, and igbvf even reports the address of its last reset as the permanent one (igbvf_reset() in
drivers/net/ethernet/intel/igbvf/netdev.c; measured on Linux 6.12), so IFLA_PERM_ADDRESS proves nothing. The same goes
for all settings of its netdev, which are noted too, and compared after a pod has had it. One small file for each VF in
the run directory; new VFs that sriov_numvfs makes are other devices, and are seen for the first time again.
"""

import os
import pathlib
from collections.abc import Callable

import msgspec

from sriov import devices, errors
from sriov.hardware import sysfs
from sriov.linux import kernel
from sriov.linux.netdev import netdev_settings
from sriov.state import vf_files

_MTU = 1500  # bytes, Ethernet's


class VfIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """The VF's netdev as it is in the host. `mtu` in bytes."""

    name: str
    address: str
    mtu: int


class _Known(vf_files.Born, frozen=True):
    """`state` are all settings of the netdev (kernel.LinkState), null where a former version first saw the VF.

    They are read after a pod alone, so they stay as they are written until then.
    """

    home: VfIdentity
    state: msgspec.Raw = msgspec.Raw(b"null")


_KNOWN = msgspec.json.Decoder(_Known)
_STATE = msgspec.json.Decoder(dict[str, bytes] | None)


class VfIdentities:
    """The files below `folder`. Raises LedgerError if the directory cannot be used."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._files = vf_files.Folder(folder, _KNOWN)

    def create(self) -> None:
        self._files.create()

    def settle(
        self, tree: sysfs.Tree, pci: devices.PciAddress, netdev: sysfs.Netdev, look: Callable[[], kernel.LinkState]
    ) -> VfIdentity:
        """Return the host identity of a free VF: its present name and MTU, and the address it had at first.

        `look` reads the netdev's settings. They are noted the first time, if they can be read.
        """
        birth, known = tree.birth(pci), self._read(pci)
        first = known is None or known.device != birth
        address = netdev.address if known is None or first else known.home.address
        home = VfIdentity(name=netdev.name, address=address, mtu=netdev.mtu)
        noted = known is not None and not first and _is_noted(known)
        if known is None or not noted or home != known.home:
            state = known.state if known is not None and noted else _seen(look, first=first)
            self._files.write(pci, _Known(birth, home, state))
        return home

    def state(self, tree: sysfs.Tree, pci: devices.PciAddress) -> kernel.LinkState | None:
        """Return the settings that the VF's netdev had when it was first seen; None if they were not noted."""
        known = vf_files.of_this_device(tree, pci, self._read(pci))
        if known is None:
            return None
        state: kernel.LinkState | None = _STATE.decode(known.state)
        return state

    def note(self, tree: sysfs.Tree, pci: devices.PciAddress, state: kernel.LinkState) -> None:
        """Note these settings as the VF's own from now on."""
        known = vf_files.of_this_device(tree, pci, self._read(pci))
        if known is not None:
            self._files.write(pci, msgspec.structs.replace(known, state=msgspec.Raw(msgspec.json.encode(state))))

    def last(self, pci: devices.PciAddress) -> VfIdentity:
        """Return the identity of a VF whose record is lost; a VF that was never seen gets a random address."""
        known = self._read(pci)
        return known.home if known else VfIdentity(name=devices.fallback_name(pci), address=_invented(), mtu=_MTU)

    def forget(self, pci: devices.PciAddress) -> None:
        """Forget the VF, since it gets another address of its own: it is then seen for the first time again."""
        self._files.remove(pci)

    def _read(self, pci: devices.PciAddress) -> _Known | None:
        """Read the VF's file. A damaged one counts as none: the VF is then seen for the first time."""
        try:
            return self._files.last(pci)
        except msgspec.MsgspecError:
            return None


def _is_noted(known: _Known) -> bool:
    return bytes(known.state) != b"null"


def _seen(look: Callable[[], kernel.LinkState], *, first: bool) -> msgspec.Raw:
    """Read the settings of a netdev. If that fails, the VF still goes to its pod, and is noted another time.

    A netdev that is not seen for the first time may have been a pod's before it was noted: its settings are presumed.
    """
    try:
        state = look() if first else netdev_settings.presumed(look())
        return msgspec.Raw(msgspec.json.encode(state))
    except errors.KernelError:
        return msgspec.Raw(b"null")


def _invented() -> str:
    """Return a random unicast address of the locally administered kind (IEEE 802, "U/L bit")."""
    octets = os.urandom(6)
    return bytes([octets[0] & 0xFC | 0x02, *octets[1:]]).hex(":")
