"""Inventory of the node: reads the hardware and config.json when there is a reason, and reports each snapshot.

A configuration that is invalid changes nothing: the one before stays in force, and a resource whose file is gone for a
moment keeps its claims.
"""

import asyncio
import functools
import logging
import pathlib
from collections.abc import Callable

import msgspec

from sriov import errors
from sriov.daemon import background, folder_watch
from sriov.hardware import node_devices
from sriov.pools import assignment, config, observer, resources
from sriov_dra import snapshot

_log = logging.getLogger(__name__)


class PublishedNodeOptions(msgspec.Struct, frozen=True):
    """`config` and `prefix` as the device plugin has them: both read one file. Times are in seconds."""

    config: pathlib.Path
    prefix: str
    node: str
    observed: observer.ObservedNode = msgspec.field(default_factory=observer.ObservedNode)
    patience: observer.Patience = msgspec.field(default_factory=observer.Patience)
    debounce: float = 0.1
    links: float = 0.05
    resync: float = 30.0
    poll: float = 1.0
    look: float = 15.0


class PublishedNode:
    """For one event loop. `changed` is called with each snapshot."""

    def __init__(
        self,
        options: PublishedNodeOptions,
        tasks: background.Background,
        changed: Callable[[snapshot.NodeSnapshot], None],
    ) -> None:
        """Raises ConfigError if the file cannot be used: there is no older one to keep."""
        self._options, self._tasks, self._changed = options, tasks, changed
        self._text = config.data(options.config)
        self._configuration = self._parsed(self._text)
        self._wake = asyncio.Event()
        self._observer = observer.Observer(options.observed, options.patience, self._wake.set)
        self._where: dict[str, str] = {}
        self._catalog: node_devices.Catalog | None = None
        self._due = asyncio.Event()
        self.config_error = ""

    def wake(self) -> None:
        """Look again soon."""
        self._wake.set()

    async def first(self) -> None:
        """Read the node once, before anybody asks for it. Raises SriovError."""
        await self._look()

    async def run(self) -> None:
        """Follow the node until cancelled."""
        folder = self._options.config.parent
        watch = functools.partial(folder_watch.changes, folder, self._wake.set, self._options.poll, self._options.look)
        async with asyncio.TaskGroup() as group:
            for name, work in (
                ("listening for uevents", self._listen),
                ("looking at links", functools.partial(self._observer.poll_links, self._options.links, self._hurry)),
                (f"watching {folder}", watch),
            ):
                group.create_task(self._tasks.keep(name, work))
            await self._follow()

    async def _listen(self) -> None:
        monitor = observer.monitor()
        if monitor is not None:
            self.wake()  # what has happened before
            await self._observer.listen(monitor)

    def _hurry(self) -> None:
        """Look at once: a link has changed, and nothing else."""
        self._due.set()

    async def _follow(self) -> None:
        """Look at everything for an event and now and then; only at links and states when one of those is due."""
        clock = asyncio.get_running_loop().time
        resync = clock() + self._options.resync
        while True:
            await self._until_something(resync)
            if self._wake.is_set() or clock() >= resync:
                await asyncio.sleep(self._options.debounce)
                self._wake.clear()
                self._reload()
                resync = clock() + self._options.resync
                await self._tasks.keep("reading the node", self._look)
            else:
                await self._tasks.keep("reading the node", functools.partial(self._look, self._catalog))

    async def _until_something(self, resync: float) -> None:
        loop = asyncio.get_running_loop()
        due = min(resync, self._observer.next_look or resync)
        waiting = [loop.create_task(each.wait()) for each in (self._wake, self._due)]
        await asyncio.wait(waiting, timeout=max(0.0, due - loop.time()), return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        self._due.clear()

    async def _look(self, known: node_devices.Catalog | None = None) -> None:
        clock, profiled = asyncio.get_running_loop().time(), self._configuration.asks_for_profiles
        catalog, now = await self._observer.look(clock, self._where, with_profiles=profiled, known=known)
        self._catalog = catalog
        dealt = assignment.assign(catalog, self._configuration, now, self._where)
        self._where = {device.id: pool.resource for pool in dealt for device in pool.devices}
        self._changed(snapshot.taken(self._options.node, catalog, now, dealt))

    def _parsed(self, text: bytes) -> resources.Configuration:
        found = config.parse(text, str(self._options.config), self._options.prefix)
        for warning in found.warnings:
            _log.warning("%s", warning)
        return found

    def _reload(self) -> None:
        """Use the file if it has changed and is valid; log each problem with it once."""
        try:
            text = config.data(self._options.config)
            if text != self._text:
                self._configuration, self._text = self._parsed(text), text
                _log.info("the configuration has changed, it has %d resources", len(self._configuration.resources))
            self.config_error = ""
        except errors.SriovError as error:
            if str(error) != self.config_error:
                _log.error("config.json is invalid; keeping the previous configuration: %s", error)
            self.config_error = str(error)
