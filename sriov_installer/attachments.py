"""Which pods hold VFs, as the ledger has it, and whether a daemon serves them: without one no VF comes home clean."""

import pathlib
import socket

from sriov.state import ledger


def held(run_dir: pathlib.Path) -> list[ledger.Record]:
    """Raises LedgerError."""
    return list(ledger.Ledger(run_dir).records())


def is_served(run_dir: pathlib.Path) -> bool:
    """Whether somebody listens where shims connect."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(run_dir / "cni.sock")) == 0


def problem(records: list[ledger.Record]) -> str:
    """Why nothing can be removed now; "" where it can."""
    if not records:
        return ""
    first = f"{records[0].pci} of {records[0].owner}"
    more = f" and {len(records) - 1} more" if len(records) > 1 else ""
    return (
        f"pods still hold VFs: {first}{more}; drain the node,"
        " or give --leave-attachments where another installation takes them over"
    )
