"""Attached VFs of claims: for each the interface and addresses that its pod has, a file in the run directory.

The CNI daemon writes it when an ADD has done everything, for VFs of claims only; the DRA driver tells the API server.
A file stays when its VF has left the pod: it counts as long as the ledger has a record of the same attachment.
"""

import pathlib

import msgspec

from sriov import devices, errors
from sriov.state import ledger, run_files

FORMAT = 1
"""Format of the files that are written; a field with a default needs no new number."""


class AttachedVf(msgspec.Struct, frozen=True, kw_only=True):
    """A VF in its pod. `claim` is the claim's UID, `ifname` the name that the runtime asked for, `addresses` are with
    their prefixes. `within` is as in the ledger's Owner."""

    version: int = FORMAT
    pci: devices.PciAddress
    claim: str
    container_id: str
    ifname: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    within: str = ""


_ATTACHED = msgspec.json.Decoder(AttachedVf)


class AttachedVfs:
    """The files below `run_dir`. Raises LedgerError if one cannot be written."""

    def __init__(self, run_dir: pathlib.Path) -> None:
        self.folder = run_dir / "attached"

    def write(self, attached: AttachedVf) -> None:
        run_files.make_folder(self.folder)
        run_files.write(self.folder / f"{attached.pci}.json", msgspec.json.encode(attached))

    def of(self, record: ledger.Record) -> AttachedVf | None:
        """Return what the record's attachment has; None if its ADD has not ended, or nothing that is known here."""
        try:
            data = run_files.read(self.folder / f"{record.pci}.json")
            found = None if data is None else _ATTACHED.decode(data)
        except (errors.LedgerError, msgspec.MsgspecError):
            return None
        if found is None or found.version > FORMAT:
            return None
        return found if record.belongs_to(found.container_id, found.ifname, found.within) else None
