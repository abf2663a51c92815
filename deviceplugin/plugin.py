"""The device plugin: hardware in, one registration a resource out, and what keeps the two in step.

A uevent, a refused Allocate or the slow resync makes it look at sysfs again; what it finds goes to every resource, and
only what changed goes to the kubelet, which writes its checkpoint to disk for each list it is sent.
"""

import asyncio
import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Collection

from deviceplugin import conf, kubelet, pools, watch
from sriov import devices, errors, inventory, sysfs, uevents

log = logging.getLogger(__name__)

_FOLDER = "device-plugins"  # below the kubelet's root directory


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """Where the node's files are, and seconds: how long to gather uevents, and how often to look without any."""

    kubelet_root: pathlib.Path = pathlib.Path("/var/lib/kubelet")
    tree: sysfs.Tree = dataclasses.field(default_factory=sysfs.Tree)
    debounce: float = 0.1
    resync: float = 30.0
    timings: kubelet.Timings = dataclasses.field(default_factory=kubelet.Timings)


class Plugin:
    """All resources of one configuration. `run` ends only by cancellation, or by a failure that no retry mends."""

    def __init__(self, configuration: conf.Configuration, options: Options) -> None:
        self._configuration = configuration
        self._options = options
        self._folder = options.kubelet_root / _FOLDER
        self._stale = asyncio.Event()
        self._registrations: tuple[kubelet.Registration, ...] = ()
        self._vfs: Collection[devices.PciAddress] = ()

    async def run(self) -> None:
        """Raises SriovError where the kubelet's directory is too deep for a socket."""
        monitor = _monitor()  # before the first scan, so that nothing happens unseen between the two
        timings = self._options.timings
        dealt = await self._dealt() or pools.assign(inventory.Inventory({}, {}), self._configuration)
        self._registrations = tuple(kubelet.Registration(pool, self._folder, self._stale, timings) for pool in dealt)
        async with asyncio.TaskGroup() as group:
            if monitor is not None:
                group.create_task(self._listen(monitor))
            group.create_task(self._follow())
            group.create_task(watch.changes(self._folder, self._nudge, timings.poll))
            for registration in self._registrations:
                group.create_task(registration.run())

    async def _listen(self, monitor: uevents.Monitor) -> None:
        try:
            async for event in uevents.watch(monitor):
                if matters(event, self._vfs):
                    log.debug("uevent: %s %s %s", event.action, event.subsystem, event.name)
                    self._stale.set()
        except errors.KernelError as error:
            log.warning("no more uevents, changes are seen at the next resync: %s", error)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.resync):
                    await self._stale.wait()
            await asyncio.sleep(self._options.debounce)
            self._stale.clear()
            self._publish(await self._dealt())

    async def _dealt(self) -> tuple[pools.Pool, ...]:
        """The pools as sysfs has them now; none where it cannot be read, which is temporary and no reason to stop."""
        try:
            found = await asyncio.to_thread(inventory.scan, self._options.tree)
        except errors.SriovError as error:
            log.error("cannot read the hardware, keeping what was known: %s", error)
            return ()
        self._vfs = found.vfs.keys()
        return pools.assign(found, self._configuration)

    def _publish(self, dealt: tuple[pools.Pool, ...]) -> None:
        for registration, pool in zip(self._registrations, dealt, strict=False):
            if registration.servicer.publish(pool):
                healthy = sum(device.health is pools.Health.HEALTHY for device in pool.devices)
                log.info("%s has %d devices, %d of them healthy", pool.resource, len(pool.devices), healthy)

    def _nudge(self) -> None:
        for registration in self._registrations:
            registration.nudge()


def matters(event: uevents.Event, vfs: Collection[devices.PciAddress]) -> bool:
    """Whether a pool may look different after it.

    Every pod makes netdev events, of its veth and of its VF on the way in and out: those change nothing.
    """
    return event.subsystem != "net" or (event.pci is not None and event.pci not in vfs)


def _monitor() -> uevents.Monitor | None:
    try:
        return uevents.Monitor()
    except errors.KernelError as error:
        log.warning("no uevents, changes are seen at the next resync: %s", error)
        return None
