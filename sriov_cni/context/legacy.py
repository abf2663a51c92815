"""sriov-cni's attachments: their records are read, so that a node changes over without draining.

sriov-cni keeps the merged network configuration with the VF's original state in <containerID>-<ifname>, and the
namespace of each VF in pci/<PCI address> (k8snetworkplumbingwg/sriov-cni, pkg/utils/utils.go and pkg/types/types.go).
Nothing is written there; end() removes the files of an attachment that has ended.
"""

import logging
import os
import pathlib
import stat

import msgspec

from sriov import devices, errors, settings
from sriov.state import ledger, vf_identity

_log = logging.getLogger(__name__)

_LIMIT = 1 << 20


class _Original(msgspec.Struct, frozen=True, rename="pascal"):
    host_if_name: str = msgspec.field(default="", name="HostIFName")
    effective_mac: str = msgspec.field(default="", name="EffectiveMAC")
    mtu: int = msgspec.field(default=0, name="MTU")


class _Cached(msgspec.Struct, frozen=True):
    name: str = ""
    device_id: str = msgspec.field(default="", name="deviceID")
    original: _Original = msgspec.field(default=_Original(), name="OrigVfState")


_CACHED = msgspec.json.Decoder(_Cached)


class Upstream:
    """Folder of sriov-cni's records, /var/lib/cni/sriov by its default."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def find(self, container_id: str, ifname: str) -> ledger.Record | None:
        """Return its attachment as a record of ours; None if there is none or it cannot be read."""
        data = _read(self._path(container_id, ifname))
        if data is None:
            return None
        try:
            return _record(_CACHED.decode(data), container_id, ifname)
        except (msgspec.MsgspecError, errors.DeviceError) as error:
            _log.warning("sriov-cni's record %s is unusable: %s", self._path(container_id, ifname), error)
            return None

    def has(self, pci: devices.PciAddress) -> bool:
        """Report whether the VF has an entry at all."""
        return (self._folder / "pci" / pci).exists()

    def of_device(self, pci: devices.PciAddress) -> ledger.Record | None:
        """Return the attachment that holds this VF. All records are read, but only if the VF has an entry at all."""
        if not self.has(pci):
            return None
        for path in self._folder.iterdir():
            container_id, _, ifname = path.name.rpartition("-")
            record = self.find(container_id, ifname) if container_id and ifname else None
            if record is not None and record.pci == pci:
                return record
        return None

    def end(self, record: ledger.Record) -> None:
        """Remove the files of an attachment that has ended."""
        self._path(record.owner.container_id, record.owner.ifname).unlink(missing_ok=True)
        (self._folder / "pci" / record.pci).unlink(missing_ok=True)

    def _path(self, container_id: str, ifname: str) -> pathlib.Path:
        return self._folder / f"{container_id}-{ifname}"


def _record(cached: _Cached, container_id: str, ifname: str) -> ledger.Record:
    """Make our record. `netns` is unknown: the VF is recognised in the pod by its PCI address alone."""
    original = cached.original
    home = vf_identity.VfIdentity(
        name=original.host_if_name, address=original.effective_mac.lower(), mtu=original.mtu or 1500
    )
    return ledger.Record(
        pci=devices.pci_address(cached.device_id),
        owner=ledger.Owner(container_id=container_id, ifname=ifname, network=cached.name, netns=""),
        netns=(0, 0),
        home=home if original.host_if_name and original.effective_mac else None,
        wanted=settings.BASELINE,
        mtu=home.mtu,
    )


def _read(path: pathlib.Path) -> bytes | None:
    """Read a regular file; anything else that may be planted there is not followed and does not block."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(fd, "rb") as file:
        return file.read(_LIMIT) if stat.S_ISREG(os.fstat(fd).st_mode) else None
