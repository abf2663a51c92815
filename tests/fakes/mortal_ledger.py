"""Ledger, and notes of claims, whose writes are effects of a daemon that may die between any two of them."""

import contextlib
import pathlib

import msgspec

from sriov import devices
from sriov.state import claim_attachments, ledger
from tests.fakes.life import Life


class MortalLedger(ledger.Ledger):
    """A ledger.Ledger. A death in the middle of a write leaves an empty, half or whole draft, as in reality."""

    def __init__(self, run_dir: pathlib.Path, life: Life) -> None:
        super().__init__(run_dir)
        self._vfs = run_dir / "vfs"
        self._life = life

    def write(self, record: ledger.Record) -> None:
        draft, data = self._vfs / f"{record.pci}.tmp", msgspec.json.encode(record)
        self._life.effect(f"open {draft.name}")
        for written in (b"", data[: len(data) // 2], data):
            with contextlib.suppress(OSError):  # a full disk: the real write reports it
                draft.write_bytes(written)
            self._life.effect(f"go on after {len(written)} bytes of {draft.name}")
        super().write(record)

    def remove(self, pci: devices.PciAddress) -> None:
        self._life.effect(f"remove the record of {pci}")
        super().remove(pci)


class MortalClaimAttachments(claim_attachments.ClaimAttachments):
    """A ClaimAttachments; the ledger's way of writing, in which a death leaves a draft, is shown there."""

    def __init__(self, run_dir: pathlib.Path, life: Life) -> None:
        super().__init__(run_dir)
        self._life = life

    def write(self, attachment: claim_attachments.ClaimAttachment) -> None:
        self._life.effect(f"note the attachment of {attachment.container_id}")
        super().write(attachment)

    def remove(self, container_id: str, ifname: str) -> None:
        self._life.effect(f"forget the attachment of {container_id}")
        super().remove(container_id, ifname)
