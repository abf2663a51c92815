"""Which pod holds which VF, and what went through it: read now and then, so that whoever asks is answered from memory.

Ledger, sysfs and /proc, no netlink request. What a look finds replaces what the last one found: nothing is remembered
of pods that are gone.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable

from sriov import errors
from sriov.attachment.node import Node
from sriov.state import ledger
from sriov_cni.monitoring import counters

Reader = Callable[[ledger.Record], counters.Counters | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """`pf` is the PF's netdev, or its PCI address where that has none; both it and `vf` are empty inside a virtual
    machine. `counters` is None for a VF without a netdev and where its namespace could not be looked into."""

    record: ledger.Record
    pf: str
    vf: str
    counters: counters.Counters | None


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """`at` is in seconds since 1970, 0 before the first."""

    at: float = 0.0
    holdings: tuple[Holding, ...] = ()


class Watcher:
    """`latest` is replaced as a whole, so that any thread may read it."""

    def __init__(self, node: Node, book: ledger.Ledger, read: Reader = counters.of) -> None:
        self.latest = Look()
        self._node = node
        self._book = book
        self._read = read

    async def look_again(self) -> None:
        """Replace `latest`. Raises LedgerError: what was seen last stays then."""
        self.latest = await asyncio.to_thread(self.look)

    def look(self) -> Look:
        """Blocks for about a tenth of a millisecond a VF."""
        found = tuple(self._holding(record) for record in self._book.records())
        return Look(time.time(), found)

    def _holding(self, record: ledger.Record) -> Holding:
        try:
            vf = self._node.lookup(record.pci)
        except errors.DeviceError:  # it went away, its record goes with its DEL
            return Holding(record, "", "", None)
        index = "" if vf.pf is None else str(vf.index)
        return Holding(record, vf.pf_netdev or vf.pf or "", index, self._read(record))
