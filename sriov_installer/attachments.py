"""Attachments that stand in the way of a removal, by the ledger: without a daemon no VF is taken back clean."""

import pathlib
import socket

from sriov.state import ledger


def held(run_dir: pathlib.Path) -> list[ledger.Record]:
    """Return the records. Raises LedgerError."""
    return list(ledger.Ledger(run_dir).records())


def is_served(run_dir: pathlib.Path) -> bool:
    """Report whether a daemon listens on the shims' socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(run_dir / "cni.sock")) == 0


def problem(records: list[ledger.Record]) -> str:
    """Return why nothing can be removed now; "" if it can."""
    if not records:
        return ""
    first = f"{records[0].pci} of {records[0].owner}"
    more = f" and {len(records) - 1} more" if len(records) > 1 else ""
    return (
        f"pods still hold VFs: {first}{more}; drain the node,"
        " or give --leave-attachments if another installation takes them over"
    )
