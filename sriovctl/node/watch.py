"""Watch for changes of the node: uevents, link changes, and files of the ledger and the configuration.

Nothing is polled, except for one look every _RESYNC seconds, since an event may be lost. Events that come together
count as one.
"""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncGenerator, Iterable

from sriov import errors
from sriov.daemon import folder_watch
from sriov.hardware import link_events, uevents

_DEBOUNCE = 0.05  # seconds
_ABSENCE = 0.5  # seconds between looks for a folder that does not exist
_RESYNC = 30.0  # seconds


async def changes(folders: Iterable[pathlib.Path], resync: float = _RESYNC) -> AsyncGenerator[None, None]:
    """Yield once at the start, and whenever there is a reason to look again; ends only by cancellation."""
    woken = asyncio.Event()
    listeners = [
        _uevents(woken),
        _links(woken),
        *(folder_watch.changes(each, woken.set, _ABSENCE, _RESYNC) for each in folders),
    ]
    tasks = [asyncio.create_task(each) for each in listeners]
    try:
        await asyncio.sleep(0)  # all listen now: an event during the first look wakes for a second one
        while True:
            yield
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), resync)
            await asyncio.sleep(_DEBOUNCE)
            woken.clear()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _uevents(woken: asyncio.Event) -> None:
    with contextlib.suppress(errors.KernelError):  # none in this container: files and resync remain
        async for _ in uevents.watch(uevents.Monitor()):
            woken.set()


async def _links(woken: asyncio.Event) -> None:
    with contextlib.suppress(errors.KernelError):
        async with contextlib.aclosing(link_events.changes(link_events.monitor())) as heard:
            async for _ in heard:
                woken.set()
