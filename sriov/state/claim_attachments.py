"""Attachments by claims: one file in the run directory for each CNI call that attached all devices of a pod's claims.

A call names one interface and makes several. The file says which, from before the first change until the last of them
is home and its address is given back: the runtime's DEL may come without a result, after the grants are gone, or after
an ADD that was cut off. As the ledger, it is on tmpfs; only the CNI daemon writes.
"""

import logging
import os
import pathlib
from typing import Any

import msgspec

from sriov.state import run_files

_log = logging.getLogger(__name__)
_LONGEST = 250  # bytes of a file's name, with what is written beside it first


class ClaimedDevice(msgspec.Struct, frozen=True):
    """A device of a claim, by its PCI address, and the pod's name for it.

    `ipam` is its own section, None if that of the CNI call counts; `network` is the name that goes with it.
    """

    id: str
    ifname: str
    ipam: dict[str, Any] | None = None
    network: str = ""


class ClaimAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """A call, by its container and CNI_IFNAME; `network` is the name of its network, which GC goes by."""

    container_id: str
    ifname: str
    network: str
    devices: tuple[ClaimedDevice, ...]


_ATTACHMENT = msgspec.json.Decoder(ClaimAttachment)


class ClaimAttachments:
    """The files below `run_dir`. Raises LedgerError if the directory cannot be used."""

    def __init__(self, run_dir: pathlib.Path) -> None:
        self._folder = run_dir / "claimed"

    def has(self, container_id: str, ifname: str) -> bool:
        """Report whether there is a file; on the way of each DEL."""
        return os.path.exists(self._path(container_id, ifname))  # noqa: PTH110

    def read(self, container_id: str, ifname: str) -> ClaimAttachment | None:
        """Return the call's; None if there is none or it is damaged, which the ledger's records make up for."""
        return self._read(self._path(container_id, ifname))

    def all(self) -> list[ClaimAttachment]:
        return [found for path in run_files.listed(self._folder, ".json") if (found := self._read(path))]

    def write(self, attachment: ClaimAttachment) -> None:
        run_files.make_folder(self._folder)
        run_files.write(self._path(attachment.container_id, attachment.ifname), msgspec.json.encode(attachment))

    def remove(self, container_id: str, ifname: str) -> None:
        """Remove the call's, if there is one."""
        path = self._path(container_id, ifname)
        if self.has(container_id, ifname):
            with run_files.refusals(path):
                path.unlink(missing_ok=True)

    def _path(self, container_id: str, ifname: str) -> pathlib.Path:
        """Neither name has a slash, and the container's no @, as every call's environment is checked."""
        return self._folder / f"{ifname}@{container_id}.json"

    def _read(self, path: pathlib.Path) -> ClaimAttachment | None:
        if len(os.fsencode(path.name)) > _LONGEST:
            return None  # none could be written
        data = run_files.read(path)
        try:
            return None if data is None else _ATTACHMENT.decode(data)
        except msgspec.MsgspecError as error:
            _log.warning("%s is damaged (%s): its VFs are found by their records", path, error)
            return None
