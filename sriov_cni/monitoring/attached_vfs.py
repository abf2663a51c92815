"""Attached VFs, their pods and traffic: read periodically, so that a scrape is answered from memory.

Sources are ledger, sysfs and /proc, without a netlink request. Each look replaces the last one: nothing is kept of pods
that are gone.
"""

import asyncio
import time
from collections.abc import Callable

import msgspec

from sriov import errors
from sriov.attachment.node import Node
from sriov.state import ledger
from sriov_cni.monitoring import counters

Reader = Callable[[ledger.Record], counters.Counters | None]


class Holding(msgspec.Struct, frozen=True):
    """One attached VF. `pf` is the PF's netdev, or its PCI address if it has none; `pf` and `vf` are empty inside a
    virtual machine. `counters` is None for a VF without a netdev and if its namespace could not be entered."""

    record: ledger.Record
    pf: str
    vf: str
    counters: counters.Counters | None


class Look(msgspec.Struct, frozen=True):
    """One look at all VFs. `at` is in seconds since 1970, 0 before the first look."""

    at: float = 0.0
    holdings: tuple[Holding, ...] = ()


class Watcher:
    """Reads the VFs. `latest` is replaced as a whole, so that any thread may read it."""

    def __init__(self, node: Node, book: ledger.Ledger, read: Reader = counters.of) -> None:
        self.latest = Look()
        self._node = node
        self._book = book
        self._read = read

    async def look_again(self) -> None:
        """Replace `latest`. Raises LedgerError; `latest` then stays."""
        self.latest = await asyncio.to_thread(self.look)

    def look(self) -> Look:
        """Read all VFs. Blocks for about a tenth of a millisecond for each VF."""
        found = tuple(self._holding(record) for record in self._book.records())
        return Look(time.time(), found)

    def _holding(self, record: ledger.Record) -> Holding:
        try:
            vf = self._node.lookup(record.pci)
        except errors.DeviceError:  # the VF went away; its record goes with its DEL
            return Holding(record, "", "", None)
        index = "" if vf.pf is None else str(vf.index)
        return Holding(record, vf.pf_netdev or vf.pf or "", index, self._read(record))
