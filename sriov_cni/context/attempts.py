"""Attempts to restore VFs that repair could not restore: when the next is due, and their problems. In memory.

After the first failure the next round tries again. From then on each such VF has its own pause, which doubles, so that
VFs that nobody can restore do not keep threads from the others.
"""

from collections.abc import Iterable

import msgspec

from sriov import devices
from sriov.state import ledger

_FIRST = 10.0  # seconds: a round of repair
_LONGEST = 300.0  # seconds
_NOTEWORTHY = 3  # failures in a row: one or two may be a driver that resets


class _Failing(msgspec.Struct, frozen=True):
    """One VF. `due` is in seconds of the clock that `failed` is given.

    `kept_back`: nothing failed, and the VF is in the host, but no pod may have it yet. That is a matter of the VF's
    health and keeps no daemon from being ready.
    """

    owner: ledger.Owner
    failures: int
    due: float
    problem: str
    kept_back: bool


class Attempts:
    """Failed attempts by VF. For one event loop."""

    def __init__(self) -> None:
        self._failing: dict[devices.PciAddress, _Failing] = {}

    def failures(self, record: ledger.Record) -> int:
        """Return how often in a row this attachment's VF could not be restored."""
        found = self._failing.get(record.pci)
        return found.failures if found is not None and found.owner == record.owner else 0

    def is_due(self, record: ledger.Record, now: float) -> bool:
        return not self.failures(record) or self._failing[record.pci].due <= now

    def failed(self, record: ledger.Record, problem: str, now: float, *, kept_back: bool = False) -> None:
        """Note another failed attempt. `now` in seconds of any steady clock."""
        failures = self.failures(record) + 1
        pause = min(_LONGEST, _FIRST * 2.0 ** min(failures - 1, 30))
        self._failing[record.pci] = _Failing(record.owner, failures, now + pause, problem, kept_back)

    def forget(self, record: ledger.Record) -> None:
        """Forget the VF: it is restored, or nothing is left to restore."""
        self._failing.pop(record.pci, None)

    def only(self, records: Iterable[ledger.Record]) -> None:
        """Forget all other VFs: these are all that are left to restore."""
        left = {record.pci for record in records}
        self._failing = {pci: each for pci, each in self._failing.items() if pci in left}

    def problems(self) -> list[str]:
        """Return a line for each VF that keeps failing."""
        return [
            f"VF {pci} of {each.owner} could not be restored {each.failures} times in a row: {each.problem}"
            for pci, each in self._failing.items()
            if each.failures >= _NOTEWORTHY and not each.kept_back
        ]
