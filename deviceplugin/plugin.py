"""The device plugin: hardware and configuration in, one registration a resource out, and what keeps them in step.

What is found goes to every resource, and only what changed goes to the kubelet, which writes its checkpoint to disk
for each list it is sent. A new configuration changes the resources that it changes: the others' sockets, streams and
pods notice nothing.
"""

import asyncio
import contextlib
import dataclasses
import functools
import logging
import pathlib

from deviceplugin import device_files, flags, registration, session, status
from sriov import errors
from sriov.daemon import background, folder_watch
from sriov.hardware import node_devices, uevents
from sriov.pools import assignment, config, observer, resources

log = logging.getLogger(__name__)

_TURN = 0.01  # seconds between two looks at whether a stream has been written


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """`config` and `prefix` are read again when the file changes. Seconds: `debounce` gathers what happens at once,
    `resync` is between two looks without any reason, `farewell` is given to the kubelet to hear of an empty pool."""

    config: pathlib.Path
    prefix: str
    door: registration.Door
    node: observer.ObservedNode = dataclasses.field(default_factory=observer.ObservedNode)
    places: device_files.FilePlaces = dataclasses.field(default_factory=device_files.FilePlaces)
    patience: observer.Patience = dataclasses.field(default_factory=observer.Patience)
    timings: session.Timings = dataclasses.field(default_factory=session.Timings)
    debounce: float = 0.1
    resync: float = 30.0
    farewell: float = 2.0
    after_failures: background.RetryTimings = dataclasses.field(default_factory=background.RetryTimings)


@dataclasses.dataclass(slots=True, eq=False)
class _Served:
    """A resource that the kubelet knows of, and the task that keeps it so."""

    registration: session.Registration
    task: asyncio.Task[None]


class Plugin:
    """All resources of the configuration. `run` ends only by cancellation, or by a failure that no retry mends."""

    def __init__(self, options: Options) -> None:
        """Raises ConfigError where the file cannot be used: there is no older one to keep."""
        self.tasks = background.Background(options.after_failures)
        self._options = options
        self._text = flags.configuration(options.config)
        self._configuration = config.parse(self._text, str(options.config), options.prefix)
        self._config_error = ""
        self._reloads = self._refused_reloads = 0
        self._wake = asyncio.Event()
        self._observer = observer.Observer(options.node, options.patience, self._wake.set)
        self._giver = device_files.Handout(options.places)
        self._served: dict[str, _Served] = {}
        self._where: dict[str, str] = {}  # device to resource, as last dealt
        self._told: dict[str, str] = {}  # device to what the log has said of it

    async def run(self) -> None:
        """Raises SriovError where the kubelet's directory is too deep for a socket.

        What fails later than the first look is told, and goes on (background).
        """
        _warn(self._configuration)
        monitor = observer.monitor()  # before the first scan, so that nothing happens unseen between the two
        timings = self._options.timings
        async with asyncio.TaskGroup() as group:
            await self._refresh(group)
            self._giver.sweep()
            if monitor is not None:
                self._keep(group, "hearing uevents", _listening(self._observer, monitor))
            self._keep(group, "hearing links", self._observer.listen_to_links)
            group.create_task(self._follow(group))
            for folder, changed in (
                (self._options.door.folder, self._nudge),
                (self._options.config.parent, self._wake.set),
            ):
                self._keep(
                    group,
                    f"watching {folder}",
                    functools.partial(folder_watch.changes, folder, changed, timings.poll, timings.poll),
                )

    def _keep(self, group: asyncio.TaskGroup, name: str, work: background.Work) -> asyncio.Task[None]:
        return group.create_task(self.tasks.keep(name, work))

    def status(self) -> status.Status:
        """For the endpoint."""
        waiting = [each.full_name for each in self._configuration.resources if each.full_name not in self._served]
        listed = (
            *(_status(one.registration) for one in self._served.values()),
            *(status.ResourceStatus(name, 0, 0, registered=False, watched=0) for name in waiting),
        )
        return status.Status(
            str(self._options.config),
            self._config_error,
            listed,
            self._reloads,
            self._refused_reloads,
            tuple(self.tasks.problems()),
        )

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rest()):
                    await self._wake.wait()
            await asyncio.sleep(self._options.debounce)
            await self.tasks.keep("looking at the node", functools.partial(self._look_again, group))

    async def _look_again(self, group: asyncio.TaskGroup) -> None:
        self._wake.clear()
        self._reload()
        await self._refresh(group)

    def _rest(self) -> float:
        """Seconds until there is reason to look without being told."""
        due = self._observer.next_look
        if due is None:
            return self._options.resync
        return min(self._options.resync, max(0.0, due - asyncio.get_running_loop().time()))

    def _reload(self) -> None:
        """Take the file if it is another one now, and is good; say once what is wrong with it."""
        try:
            text = flags.configuration(self._options.config)
            if text == self._text:
                self._config_error = ""
                return
            self._configuration = config.parse(text, str(self._options.config), self._options.prefix)
        except config.ConfigError as error:
            if str(error) != self._config_error:
                self._refused_reloads += 1
                log.error("the configuration is kept as it was, the file is no good: %s", error)
            self._config_error = str(error)
            return
        self._text, self._config_error = text, ""
        self._reloads += 1
        log.info("the configuration has changed, it has %d resources", len(self._configuration.resources))
        _warn(self._configuration)

    async def _refresh(self, group: asyncio.TaskGroup) -> None:
        """Look at the node, deal its devices out, and have the kubelet know."""
        try:
            clock = asyncio.get_running_loop().time()
            profiled = self._configuration.asks_for_profiles
            catalog, now = await self._observer.look(clock, self._where, with_profiles=profiled)
        except errors.SriovError as error:
            # Temporary, and no reason to stop. New resources are there all the same, only empty.
            log.error("cannot read the hardware, keeping what was known: %s", error)
            self._serve(group, tuple(self._known(each) for each in self._configuration.resources))
            return
        dealt = assignment.assign(catalog, self._configuration, now, self._where)
        where = {device.id: pool.resource for pool in dealt for device in pool.devices}
        await self._take_back({name for name in where if self._where.get(name, where[name]) != where[name]})
        self._where = where
        self._log(catalog, dealt)
        self._serve(group, dealt)

    async def _take_back(self, moving: set[str]) -> None:
        """A device leaves its old resource before it is in another, lest two pods be given it."""
        for served in self._served.values() if moving else ():
            pool = served.registration.servicer.pool
            staying = tuple(device for device in pool.devices if device.id not in moving)
            served.registration.servicer.publish(dataclasses.replace(pool, devices=staying))
            await self._heard(served.registration)

    async def _heard(self, registration: session.Registration) -> None:
        """Wait until the kubelet has been told, but not for long: it may be away."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.farewell):
                while not registration.servicer.told:
                    await asyncio.sleep(_TURN)

    def _known(self, settings: resources.Resource) -> assignment.Pool:
        served = self._served.get(settings.full_name)
        return assignment.Pool(settings) if served is None else served.registration.servicer.pool

    def _serve(self, group: asyncio.TaskGroup, dealt: tuple[assignment.Pool, ...]) -> None:
        """Publish what is known, register what is new, withdraw what is gone."""
        names = {pool.resource for pool in dealt}
        for name in [name for name in self._served if name not in names]:
            group.create_task(self.tasks.once(f"withdrawing {name}", self._withdraw(self._served.pop(name))))
        for pool in dealt:
            self._giver.announce(pool)
            if pool.resource not in self._served:
                self._served[pool.resource] = self._begin(group, pool)
            elif self._served[pool.resource].registration.servicer.publish(pool):
                log.info("%s has %s", pool.resource, _count(pool))

    def _begin(self, group: asyncio.TaskGroup, pool: assignment.Pool) -> _Served:
        options = self._options
        log.info("%s has %s", pool.resource, _count(pool))
        begun = session.Registration(pool, options.door, self._giver, self._wake.set, options.timings)
        return _Served(begun, self._keep(group, f"registering {pool.resource}", begun.run))

    async def _withdraw(self, served: _Served) -> None:
        """Say that there are none any more, and go. The kubelet keeps what pods have."""
        servicer = served.registration.servicer
        log.info("%s is withdrawn", servicer.pool.resource)
        self._giver.forget(servicer.pool)
        servicer.publish(assignment.Pool(servicer.pool.settings))
        await self._heard(served.registration)
        served.task.cancel()

    def _log(self, catalog: node_devices.Catalog, dealt: tuple[assignment.Pool, ...]) -> None:
        """What is out of order with a device, when it begins and when it ends."""
        said = {
            device.id: f"{device.id} of {pool.resource} is unhealthy: it {device.ailment}"
            for pool in dealt
            for device in pool.devices
            if device.ailment
        }
        for one in catalog.candidates.values():
            if one.host_use is not None and one.id not in self._where:
                said[one.id] = f"{one.id} is not offered, it carries traffic of the host: {one.host_use.text}"
        said |= {f"IOMMU group {group}": text for group, text in assignment.shared_groups(dealt).items()}
        for name in sorted(said.keys() | self._told.keys()):
            if name not in said:
                log.info("%s is in order again", name)
            elif self._told.get(name) != said[name]:
                log.warning("%s", said[name])
        self._told = said

    def _nudge(self) -> None:
        for served in self._served.values():
            served.registration.nudge()


def _listening(seen: observer.Observer, first: uevents.Monitor) -> background.Work:
    """Hears uevents, from `first` on; where that fails, on a monitor of its own."""
    monitors = [first]

    async def listen() -> None:
        if not monitors:
            seen.wake()  # what has happened meanwhile was not heard
        await seen.listen(monitors.pop() if monitors else uevents.Monitor())

    return listen


def _warn(configuration: resources.Configuration) -> None:
    for warning in configuration.warnings:
        log.warning("%s", warning)


def _count(pool: assignment.Pool) -> str:
    healthy = sum(device.health is assignment.Health.HEALTHY for device in pool.devices)
    return f"{len(pool.devices)} devices, {healthy} of them healthy"


def _status(registration: session.Registration) -> status.ResourceStatus:
    pool = registration.servicer.pool
    healthy = sum(device.health is assignment.Health.HEALTHY for device in pool.devices)
    servicer = registration.servicer
    return status.ResourceStatus(
        name=pool.resource,
        devices=len(pool.devices),
        healthy=healthy,
        registered=registration.known,
        watched=servicer.streams,
        registrations=registration.registered,
        failed_registrations=registration.failed,
        allocations=servicer.granted,
        refused_allocations=servicer.denied,
    )
