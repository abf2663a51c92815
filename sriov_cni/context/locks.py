"""Locks of VFs: one call at a time works on a VF, while the other VFs go on.

Work is done in threads, which nobody can stop: an awaiting task that is cancelled goes on at once, its thread does not.
So a lock is held as long as there is work, and not as long as a task waits for it. Work that is not done by
`Held.run` is not under the lock.
"""

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, ParamSpec, TypeVar

from sriov import devices, errors, timing
from sriov_cni.context import steps

_PATIENCE = 20.0  # seconds: a call ends within half a minute and tells the runtime to try again

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Held:
    """A VF's lock while a call has it."""

    def __init__(self) -> None:
        self._work: set[asyncio.Future[Any]] = set()

    async def run(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run the function in a thread, in the caller's context. It has ended when this returns, even if cancelled."""
        done = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
        work = asyncio.get_running_loop().run_in_executor(None, done)
        self._work.add(work)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await _over([work])
            raise
        finally:
            self._work.discard(work)

    async def over(self) -> None:
        """Wait for work that no task waits for any more."""
        await _over(self._work)


class VfLocks:
    """Locks by PCI address, for one event loop. They end with the process, so a crash needs no clean-up."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        self.patience = patience
        self._locks: dict[devices.PciAddress, asyncio.Lock] = {}

    def held(self, pci: devices.PciAddress) -> bool:
        """Report whether a call works on the VF now."""
        lock = self._locks.get(pci)
        return lock is not None and lock.locked()

    @contextlib.asynccontextmanager
    async def of(self, pci: devices.PciAddress) -> AsyncIterator[Held]:
        """Hold the VF's lock until all work under it has ended.

        Raises BusyError if another call keeps it for too long.
        """
        lock = self._locks.setdefault(pci, asyncio.Lock())
        try:
            with timing.timed(steps.CallStep.LOCK):
                async with asyncio.timeout(self.patience):
                    await lock.acquire()
        except TimeoutError:
            raise errors.BusyError(
                f"another call has been working on VF {pci} for {self.patience:g} s", "try again later"
            ) from None
        held = Held()
        try:
            yield held
        finally:
            try:
                await held.over()
            finally:
                lock.release()


async def _over(work: Collection[asyncio.Future[Any]]) -> None:
    """Wait until all of it has ended, however often this is cancelled; the last cancellation is raised afterwards."""
    cancelled = None
    while pending := [each for each in work if not each.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
