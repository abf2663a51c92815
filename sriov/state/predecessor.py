"""sriov-cni's attachments: their records are read, so that a node changes over without draining.

sriov-cni keeps the merged network configuration with the VF's original state in <containerID>-<ifname>, and the
namespace of each VF in pci/<PCI address> (k8snetworkplumbingwg/sriov-cni, pkg/utils/utils.go and pkg/types/types.go).
Nothing is written there; end() removes the files of an attachment that has ended. The folder outlives a reboot, so a
file proves nothing by itself.
"""

import contextlib
import logging
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any

import msgspec

from sriov import devices, errors, settings
from sriov.state import ledger, vf_identity

_log = logging.getLogger(__name__)

_LIMIT = 1 << 20


class _Original(msgspec.Struct, frozen=True, rename="pascal"):
    host_if_name: str = msgspec.field(default="", name="HostIFName")
    effective_mac: str = msgspec.field(default="", name="EffectiveMAC")
    mtu: int = msgspec.field(default=0, name="MTU")
    admin_mac: Any = msgspec.field(default=None, name="AdminMAC")


class _Cached(msgspec.Struct, frozen=True):
    """`mac`, `vlan` and AdminMAC are only shown: whatever they are, the rest counts."""

    name: str = ""
    device_id: str = msgspec.field(default="", name="deviceID")
    original: _Original = msgspec.field(default=_Original(), name="OrigVfState")
    mac: Any = msgspec.field(default=None, name="MAC")
    vlan: Any = None


_CACHED = msgspec.json.Decoder(_Cached)


class WrittenAttachment(msgspec.Struct, frozen=True):
    """An attachment as sriov-cni wrote it down: in `record` also its namespace's path, and the MAC and VLAN that it was
    asked for. `since` is in seconds since 1970."""

    record: ledger.Record
    since: float


class Upstream:
    """Folder of sriov-cni's records, /var/lib/cni/sriov by its default."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def find(self, container_id: str, ifname: str) -> ledger.Record | None:
        """Return its attachment as a record of ours; None if there is none or it cannot be read.

        `wanted` is the baseline: sriov-cni may have left settings alone that its file names.
        """
        read = self._load(container_id, ifname)
        return None if read is None else read[1]

    def has(self, pci: devices.PciAddress) -> bool:
        """Report whether the VF has an entry at all."""
        return (self._folder / "pci" / pci).exists()

    def of_device(self, pci: devices.PciAddress) -> ledger.Record | None:
        """Return the attachment that holds this VF. All records are read, but only if the VF has an entry at all."""
        if not self.has(pci):
            return None
        return next((record for _, _, record in self._all() if record.pci == pci), None)

    def written(self) -> Iterator[WrittenAttachment]:
        """Yield all attachments, the oldest first. Raises LedgerError if the folder cannot be listed."""
        found = []
        try:
            for path, cached, record in self._all():
                with contextlib.suppress(FileNotFoundError):  # it has just ended
                    found.append((path.stat().st_mtime, cached, record))
        except OSError as error:
            raise errors.LedgerError(f"cannot read {self._folder}: {error.strerror}", "is this root?") from error
        for since, cached, record in sorted(found, key=lambda each: each[0]):
            owner = msgspec.structs.replace(record.owner, netns=self._netns(record.pci))
            yield WrittenAttachment(msgspec.structs.replace(record, owner=owner, wanted=_asked(cached)), since)

    def end(self, record: ledger.Record) -> None:
        """Remove the files of an attachment that has ended."""
        self._path(record.owner.container_id, record.owner.ifname).unlink(missing_ok=True)
        (self._folder / "pci" / record.pci).unlink(missing_ok=True)

    def _all(self) -> Iterator[tuple[pathlib.Path, _Cached, ledger.Record]]:
        """Read every record. A folder that does not exist has none."""
        try:
            paths = list(self._folder.iterdir())
        except FileNotFoundError:
            return
        for path in paths:
            container_id, _, ifname = path.name.rpartition("-")
            read = self._load(container_id, ifname) if container_id and ifname else None
            if read is not None:
                yield (path, *read)

    def _load(self, container_id: str, ifname: str) -> tuple[_Cached, ledger.Record] | None:
        data = _read(self._path(container_id, ifname))
        if data is None:
            return None
        try:
            cached = _CACHED.decode(data)
            return cached, _record(cached, container_id, ifname)
        except (msgspec.MsgspecError, RecursionError, errors.DeviceError) as error:
            _log.warning("sriov-cni's record %s is unusable: %s", self._path(container_id, ifname), error)
            return None

    def _netns(self, pci: devices.PciAddress) -> str:
        """Return the path of the VF's namespace; "" if it is not known."""
        text = (_read(self._folder / "pci" / pci) or b"").decode(errors="replace").strip()
        return text if text.startswith("/") and text.isprintable() else ""

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


def _asked(cached: _Cached) -> settings.VfSettings:
    """Return the MAC and VLAN that sriov-cni was asked for, if they can be ones. A VF without a netdev has the MAC that
    its PF had for it, as in sriov-cni's own result (pkg/config/config.go, GetMacAddressForResult)."""
    mac, vlan = settings.NO_MAC, cached.vlan if type(cached.vlan) is int and 0 <= cached.vlan < 4095 else 0
    wanted = cached.mac or (None if cached.original.host_if_name else cached.original.admin_mac)
    with contextlib.suppress(errors.SettingError):
        mac = settings.mac(wanted) if isinstance(wanted, str) else mac
    return settings.VfSettings(mac=mac, vlan=vlan)


def _read(path: pathlib.Path) -> bytes | None:
    """Read a regular file; anything else that may be planted there is not followed and does not block."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(fd, "rb") as file:
        return file.read(_LIMIT) if stat.S_ISREG(os.fstat(fd).st_mode) else None
