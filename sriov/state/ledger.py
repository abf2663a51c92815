"""Ledger of attachments: one file in the run directory for each VF, with its owner and its state in the host.

A record is written before the first change to a VF and removed after the last, so that the next process, also after a
crash, knows what to restore. It is on tmpfs: a reboot resets every VF, so records may be lost with it, and nothing is
fsynced; a rename makes each record whole against a crash of the process. Any process may read it; only the CNI daemon
writes.
"""

import logging
import pathlib
from collections.abc import Iterator

import msgspec

from sriov import devices, errors, settings, timing
from sriov.linux import kernel, nsid
from sriov.state import run_files, vf_defaults, vf_identity

_log = logging.getLogger(__name__)

FORMAT = 1
"""Format of the records that are written. A new field with a default needs no new number: older versions ignore it, and
records of older versions get the default. The number goes up if a field changes its meaning; _Core never changes."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Owner of an attachment, as the runtime names it. `netns` is the path as the runtime passed it.

    `within` is the CNI_IFNAME of a call that attached all devices of a pod's claims, "" if it attached this VF alone.
    `namespace` and `pod` are Kubernetes' names, and `uid` is the pod's; empty if the runtime did not pass them.
    """

    container_id: str
    ifname: str
    network: str
    netns: str
    namespace: str = ""
    pod: str = ""
    within: str = ""
    uid: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """The owner as fields of a log line."""
        return {
            "namespace": self.namespace,
            "pod": self.pod,
            "container_id": self.container_id,
            "interface": self.ifname,
        }

    def __str__(self) -> str:
        return f"container {self.container_id} as {self.ifname}" if self.container_id else "an unknown container"


UNKNOWN = Owner(container_id="", ifname="", network="", netns="")
"""Owner of a VF whose record is damaged."""


class HostLink(msgspec.Struct, frozen=True, kw_only=True):
    """The veth pair between a pod and its host: name and MAC in the host, and `inside` the pod.

    `nodes` are the node's own addresses, `via` the networks behind it that were named, and `ranges` those of Services.
    `by_default`: the node has it for all networks, and this one did not name it; `ranges_by_default`: so it is with
    Services by the host. `udp`: so that answers to datagrams go
    back by it, the pod remembers who sent them. `addresses` are those of the pod's end, with their prefixes.
    """

    name: str
    address: str
    inside: str
    inside_address: str
    nodes: tuple[str, ...]
    via: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    by_default: bool = False
    udp: bool = False
    addresses: tuple[str, ...] = ()
    ranges_by_default: bool = False

    @property
    def beyond(self) -> tuple[str, ...]:
        """What is reached through the node."""
        return (*self.via, *self.ranges)


class PolicyHold(msgspec.Struct, frozen=True):
    """What holds the pod to network policies: those for the cluster's own network ("") or another one.

    `index` is the VF's in the host, which it keeps in the pod, or 0 if it does not. `raw`: packet sockets too.
    `unknown` is what holds until the pod is known.
    """

    network: str = ""
    index: int = 0
    raw: bool = False
    unknown: str = "refuse"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Record of one VF in use. `netns` is device and inode of the namespace, the same for every handle of it.

    `home` is None for a VF without a netdev, which does not move; `mark` then shows whether its owner's namespace
    still exists, and is None if the kernel cannot report that. `rdma` are the RDMA devices that go with the VF, as they
    were in the host. `device` distinguishes the VF from another that gets its address later (sysfs.Tree.birth). `ipam`
    is the IPAM plugin that gave the pod its addresses, "" for none. `problem` is why taking the VF back has failed, ""
    while no try has failed. `driver` is the VF's driver at the ADD. `passed_over` are the settings that nobody asked
    for and the driver refused, None if they were not written. `pinned` is the MAC that the PF holds the VF to, "" for
    none. `host_mac` is the MAC that a VF without a netdev had before, None if it was not read; `host_guid` is the same
    of an InfiniBand VF, "" for none. `cookie` is the number by which the kernel knows the namespace if its
    sockets reach Services, or else 0. `services_mode` is the way to Services in effect, "" if nobody asked for one,
    and `services_reason` why `auto` chose it. `host_link` and `policy` are None without one. Records of older
    versions lack some of these.
    """

    version: int = FORMAT
    pci: devices.PciAddress
    owner: Owner
    netns: tuple[int, int]
    home: vf_identity.VfIdentity | None
    wanted: settings.VfSettings
    mtu: int
    mark: nsid.Mark | None = None
    rdma: tuple[kernel.RdmaDevice, ...] = ()
    device: int = 0
    ipam: str = ""
    problem: str = ""
    driver: str = ""
    passed_over: tuple[settings.Setting, ...] | None = None
    pinned: str = ""
    host_mac: str | None = None
    host_guid: str = ""
    cookie: int = 0
    services_mode: str = ""
    services_reason: str = ""
    host_link: HostLink | None = None
    policy: PolicyHold | None = None

    def belongs_to(self, container_id: str, ifname: str, within: str = "") -> bool:
        return (self.owner.container_id, self.owner.ifname, self.owner.within) == (container_id, ifname, within)


class _Core(msgspec.Struct, frozen=True, kw_only=True):
    """Fields that a record of any format has: enough to take the VF back at its own owner's DEL."""

    owner: Owner
    home: vf_identity.VfIdentity | None


# Made here and not at the first use: msgspec builds what it knows of a type without a lock (msgspec 0.22.0,
# src/msgspec/_core.c, StructInfo_Convert), and if two threads do that at once, the process crashes.
_RECORD = msgspec.json.Decoder(Record)
_CORE = msgspec.json.Decoder(_Core)


class LedgerStep(timing.Step):
    """What is timed here: writing a record, and removing one."""

    LEDGER = "ledger"


class Ledger:
    """The records below `run_dir`. Raises LedgerError if the directory cannot be used."""

    def __init__(self, run_dir: pathlib.Path) -> None:
        self._folder = run_dir / "vfs"
        self.identities = vf_identity.VfIdentities(run_dir / "homes")
        self.defaults = vf_defaults.Defaults(run_dir / "defaults")

    @property
    def folder(self) -> pathlib.Path:
        return self._folder

    def create(self) -> None:
        """Make the directory, for its owner alone. Called once, by the process that writes."""
        for folder in (self._folder.parent, self._folder):
            run_files.make_folder(folder)
        self.identities.create()
        self.defaults.create()

    def try_out(self) -> None:
        """Raise LedgerError if no record could be written."""
        path = self._folder / ".try"
        with run_files.refusals(path):
            path.write_bytes(b"")
            path.unlink()

    def read(self, pci: devices.PciAddress) -> Record | None:
        return self._load(self._path(pci))

    def write(self, record: Record) -> None:
        with timing.timed(LedgerStep.LEDGER):
            run_files.write(self._path(record.pci), msgspec.json.encode(record))

    def remove(self, pci: devices.PciAddress) -> None:
        """Remove the VF's record, if there is one."""
        with timing.timed(LedgerStep.LEDGER), run_files.refusals(self._path(pci)):
            self._path(pci).unlink(missing_ok=True)

    def records(self) -> Iterator[Record]:
        yield from filter(None, map(self._load, self._files()))

    def held(self) -> frozenset[str]:
        """Return the PCI addresses that have a record, with whatever content; none is read."""
        return frozenset(path.stem for path in self._files())

    def _files(self) -> list[pathlib.Path]:
        return run_files.listed(self._folder, ".json")

    def since(self, pci: devices.PciAddress) -> float | None:
        """Return when the VF's record was written, in seconds since 1970: the beginning of its attachment."""
        try:
            return self._path(pci).stat().st_mtime
        except OSError:
            return None

    def find(self, container_id: str, ifname: str, within: str = "") -> Record | None:
        """Return an attachment's record, for a DEL whose configuration does not name the VF."""
        return next((record for record in self.records() if record.belongs_to(container_id, ifname, within)), None)

    def _path(self, pci: devices.PciAddress) -> pathlib.Path:
        return self._folder / f"{pci}.json"

    def _load(self, path: pathlib.Path) -> Record | None:
        data = run_files.read(path)
        if data is None:
            return None
        try:
            record = _RECORD.decode(data)
            if record.version <= FORMAT:
                return record
            reason = f"format {record.version}"
        except msgspec.MsgspecError as error:
            reason = str(error)
        return self._of_what_is_left(path, data, reason)

    def _of_what_is_left(self, path: pathlib.Path, data: bytes, reason: str) -> Record | None:
        """Return the core of a newer version's record; else a record of an unknown owner, who may still have the VF."""
        try:
            pci = devices.pci_address(path.stem)
        except errors.DeviceError:
            return None
        try:
            core = _CORE.decode(data)
            _log.warning(
                "ledger record %s is a newer version's (%s): only its owner and host state are used", path, reason
            )
        except msgspec.MsgspecError:
            core = _Core(owner=UNKNOWN, home=self.identities.last(pci))
            _log.warning("ledger record %s is damaged (%s): its VF is restored once it is in the host", path, reason)
        mtu = core.home.mtu if core.home else 0
        return Record(pci=pci, owner=core.owner, netns=(0, 0), home=core.home, wanted=settings.BASELINE, mtu=mtu)
