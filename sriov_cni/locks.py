"""One lock a VF, so that one call at a time works on it while the other VFs go on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sriov import devices, errors, steps

_PATIENCE = 20.0  # seconds: a call ends within half a minute and tells the runtime to try again


class VfLocks:
    """Locks by PCI address, for one event loop. They end with the process, which is what a crash needs."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        self.patience = patience
        self._locks: dict[devices.PciAddress, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def of(self, pci: devices.PciAddress) -> AsyncIterator[None]:
        """Hold the VF's lock. Raises BusyError when another call keeps it for too long."""
        lock = self._locks.setdefault(pci, asyncio.Lock())
        try:
            with steps.timed(steps.Step.LOCK):
                async with asyncio.timeout(self.patience):
                    await lock.acquire()
        except TimeoutError:
            raise errors.BusyError(
                f"another call has been working on VF {pci} for {self.patience:g} s", "try again later"
            ) from None
        try:
            yield
        finally:
            lock.release()
