"""Reception of the cluster's Services in a daemon: the agent's socket, the table, and the sockets a change ends."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol

import msgspec

from sriov.cluster import services
from sriov.daemon import background, unix_sockets
from sriov.state import ledger
from sriov_cni.dataplane import receiver, service_maps, stale_sockets, table_store


class ServicesTable(Protocol):
    """What is asked here of services.Translator."""

    def apply(self, change: services.TableChange) -> None: ...

    def reached(self) -> Iterable[service_maps.Reached]: ...


class ServicesMeter(Protocol):
    """Counter of what comes from the agent."""

    def changed(self, seconds: float) -> None:
        """Count a change that is in force, that many seconds after it was received."""

    def refused(self) -> None:
        """Count a change that was not taken."""

    def ended(self, sockets: int) -> None:
        """Count sockets that were ended. Called by another thread."""


class Where(msgspec.Struct, frozen=True):
    """The agent's socket, the file for the last table, and the user who may send."""

    socket: pathlib.Path
    snapshot: pathlib.Path
    uid: int = unix_sockets.AGENT_UID


class Reception:
    """`translation` acts on Services; without it the table is only kept. `records` are the pods."""

    def __init__(
        self,
        where: Where,
        translation: ServicesTable | None,
        records: Callable[[], Iterable[ledger.Record]],
        meter: ServicesMeter | None = None,
    ) -> None:
        self._where, self._meter = where, meter
        count = (lambda _number: None) if meter is None else meter.ended
        self._ender = None if translation is None else stale_sockets.Ender(translation.reached, records, count)
        apply = receiver.keep_only if translation is None else translation.apply
        self.receiver = receiver.Receiver(table_store.Snapshot(where.snapshot), apply, where.uid, witness=self)

    @contextlib.asynccontextmanager
    async def serving(self, tasks: background.Background) -> AsyncIterator[None]:
        """Receive until the context ends. Raises SriovError if it cannot listen."""
        async with self.receiver.serving(self._where.socket, tasks):
            ending = None
            if self._ender is not None:
                ending = asyncio.create_task(tasks.keep("ending sockets of backends that are gone", self._ender.run))
            try:
                yield
            finally:
                if ending is not None:
                    ending.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await ending

    def took(self, change: services.TableChange, seconds: float) -> None:
        if self._ender is not None:
            self._ender.note(change)
        if self._meter is not None:
            self._meter.changed(seconds)

    def refused(self) -> None:
        if self._meter is not None:
            self._meter.refused()
