"""Grants of claims: one file in the run directory for each ResourceClaim that is prepared on this node.

The DRA driver writes a grant before the kubelet hears that the claim is prepared, and removes it when the claim's VFs
are home. The CNI daemon reads it at an ADD, so that a VF goes to no other pod. As the ledger, it is on tmpfs: after a
reboot no VF is in a pod, and the kubelet has each claim prepared again.
"""

import logging
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from sriov import errors
from sriov.state import run_files

log = logging.getLogger(__name__)

FORMAT = 1
"""Format of the grants that are written; a field with a default needs no new number."""

_UID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


class GrantedPod(msgspec.Struct, frozen=True):
    """A pod that the claim is reserved for."""

    name: str
    uid: str


class GrantedDevice(msgspec.Struct, frozen=True):
    """A device of the claim. `id` is its PCI address, or an auxiliary device's name; `request` is the claim's.

    `pool` and `name` are those of the ResourceSlice. `interface` is the pod's name for it, "" if the CNI call decides;
    `network` is its network configuration, empty if the CNI call brings one. If the claim names a network of the node,
    `node_network` is its name and `ipam` that section of it, None if it has none.
    `unattached` is the reason why the pod may start without it, "" if it may not. `share` is its part of the device, ""
    for the whole. `is_vf`: it is a NIC's VF, and no other device.
    """

    id: str
    request: str
    pool: str
    name: str
    resource: str = ""
    interface: str = ""
    network: dict[str, Any] = msgspec.field(default_factory=dict)
    node_network: str = ""
    ipam: dict[str, Any] | None = None
    unattached: str = ""
    share: str = ""
    is_vf: bool = True

    @property
    def is_ours(self) -> bool:
        """Whether the CNI plugin is to attach it."""
        return self.is_vf and not self.unattached


class ClaimGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A claim that is prepared: who it is for, and its devices.

    `of_one_pod`: it was made for its pod from a template; another one that names it has no VF.
    """

    version: int = FORMAT
    uid: str
    namespace: str
    name: str
    pods: tuple[GrantedPod, ...] = ()
    devices: tuple[GrantedDevice, ...] = ()
    of_one_pod: bool = False

    def __str__(self) -> str:
        return f"claim {self.namespace}/{self.name}"

    def is_for(self, pod: str) -> bool:
        """Report whether the claim is reserved for this pod, named as namespace/name."""
        return any(f"{self.namespace}/{each.name}" == pod for each in self.pods)


_GRANT = msgspec.json.Decoder(ClaimGrant)


_Stamp = tuple[int, int]
"""Inode and time of a file: each write makes another file."""


class Grants:
    """The grants below `run_dir`. Raises LedgerError if the directory cannot be used or a file cannot be read.

    For one thread: what was read is kept as long as its file stays.
    """

    def __init__(self, run_dir: pathlib.Path) -> None:
        self.folder = run_dir / "claims"
        self._kept: dict[pathlib.Path, tuple[_Stamp, ClaimGrant]] = {}

    def create(self) -> None:
        """Make the directory, for its owner alone. Called once, by the process that writes."""
        run_files.make_folder(self.folder)

    def write(self, grant: ClaimGrant) -> None:
        run_files.write(self._path(grant.uid), msgspec.json.encode(grant))

    def read(self, uid: str) -> ClaimGrant | None:
        data = run_files.read(self._path(uid))
        return None if data is None else self._decoded(self._path(uid), data)

    def remove(self, uid: str) -> None:
        """Remove the claim's grant, if there is one."""
        path = self._path(uid)
        with run_files.refusals(path):
            path.unlink(missing_ok=True)

    def all(self) -> list[ClaimGrant]:
        """Return every grant. One that cannot be read is an error: it may be about any device."""
        found = {path: each for path in run_files.listed(self.folder, ".json") if (each := self._known(path))}
        self._kept = found
        return [grant for _, grant in found.values()]

    def _known(self, path: pathlib.Path) -> tuple[_Stamp, ClaimGrant] | None:
        """Return the file's grant with its stamp; None if it has gone meanwhile."""
        try:
            seen = path.stat()
        except FileNotFoundError:
            return None
        stamp = (seen.st_ino, seen.st_mtime_ns)
        kept = self._kept.get(path)
        if kept is not None and kept[0] == stamp:
            return kept
        data = run_files.read(path)
        return None if data is None else (stamp, self._decoded(path, data))

    def by_device(self) -> dict[str, ClaimGrant]:
        """Return the grants by the IDs of their devices."""
        return {device.id: grant for grant in self.all() for device in grant.devices}

    def _path(self, uid: str) -> pathlib.Path:
        """The UID is part of a path: what could leave the folder is refused. Raises LedgerError."""
        if not _UID.fullmatch(uid):
            raise errors.LedgerError(f"{uid!r} is not the UID of a claim", "letters, digits, '-', '_' and '.' are")
        return self.folder / f"{uid}.json"

    def _decoded(self, path: pathlib.Path, data: bytes) -> ClaimGrant:
        try:
            grant = _GRANT.decode(data)
        except msgspec.MsgspecError as error:
            raise _damaged(path, str(error)) from error
        if grant.version > FORMAT:
            raise _damaged(path, f"format {grant.version}")
        return grant


def _damaged(path: pathlib.Path, why: str) -> errors.LedgerError:
    return errors.LedgerError(
        f"the grant {path} cannot be read: {why}", "remove that file once no pod uses the claim's VFs"
    )


def claims(run_dir: pathlib.Path) -> dict[str, str]:
    """Return the devices of prepared claims; none if grants cannot be read, which preparing and ADD refuse."""
    try:
        known = Grants(run_dir).by_device()
    except errors.LedgerError as error:
        log.warning("%s", error)
        return {}
    return told_of(known)


def told_of(granted: Mapping[str, ClaimGrant]) -> dict[str, str]:
    """Return in words what each device of a claim is for."""
    return {device: f"is prepared for {grant}" for device, grant in granted.items()}
