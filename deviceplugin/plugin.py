"""Plugin: hardware and configuration in, one registration for each resource out, kept in step with each other.

Every resource gets what was found, but the kubelet gets only changes, since it writes its checkpoint to disk for each
list that it receives. A new configuration changes only the resources that differ in it: sockets, streams and pods of
the others notice nothing.
"""

import asyncio
import contextlib
import functools
import logging
import pathlib
from collections.abc import Callable

import msgspec

from deviceplugin import device_files, flags, registration, session, status
from sriov import errors
from sriov.daemon import background
from sriov.hardware import discovery, node_devices, uevents
from sriov.pools import assignment, config, observer, resources
from sriov.state import grants

log = logging.getLogger(__name__)

_GROUP = "IOMMU group"
_TURN = 0.01  # seconds between two checks of whether a stream has been written
_READING = 0.2  # seconds for the kubelet to read what was written: it reads each resource's stream in its own time


class Options(msgspec.Struct, frozen=True):
    """Options. `config` and `prefix` are read again when the file changes; with `waits` the first one may be missing or
    invalid. Seconds: `debounce` gathers simultaneous events, `resync` is between two looks without a reason, `farewell`
    is given to the kubelet to read an empty pool."""

    config: pathlib.Path
    prefix: str
    registrar: registration.Registrar
    node: observer.ObservedNode = msgspec.field(default_factory=observer.ObservedNode)
    places: device_files.FilePlaces = msgspec.field(default_factory=device_files.FilePlaces)
    patience: observer.Patience = msgspec.field(default_factory=observer.Patience)
    timings: session.Timings = msgspec.field(default_factory=session.Timings)
    debounce: float = 0.1
    resync: float = 30.0
    farewell: float = 2.0
    after_failures: background.RetryTimings = msgspec.field(default_factory=background.RetryTimings)
    waits: bool = False


class _Served(msgspec.Struct, eq=False):
    """A resource that the kubelet knows of, and the task that keeps it registered."""

    registration: session.Registration
    task: asyncio.Task[None]


class Plugin:
    """All resources of the configuration. `run` ends only by cancellation, or by a failure that no retry can repair."""

    def __init__(self, options: Options) -> None:
        """Raises ConfigError if the file cannot be used, unless `waits`: there is no older one to keep."""
        self.tasks = background.Background(options.after_failures)
        self._options = options
        self._text: bytes | None = None  # of the configuration in force
        self._configuration = resources.Configuration(())
        self._config_error = ""
        self._begin_with_the_file()
        self._reloads = self._refused_reloads = 0
        self._wake = asyncio.Event()
        self._observer = observer.Observer(options.node, options.patience, self._wake.set)
        self._giver = device_files.Handout(
            options.places,
            functools.partial(grants.claims, options.node.run_dir),
            functools.partial(discovery.difference, options.node.tree),
        )
        self._served: dict[str, _Served] = {}
        self._where: dict[str, str] = {}  # device to resource, as last assigned
        self._told: dict[str, str] = {}  # device to the last log line about it

    def _begin_with_the_file(self) -> None:
        try:
            text = flags.configuration(self._options.config)
            self._configuration = config.parse(text, str(self._options.config), self._options.prefix)
        except config.ConfigError as error:
            if not self._options.waits:
                raise
            self._config_error = str(error)
            log.warning("waiting for a configuration; nothing is advertised: %s", error)
        else:
            self._text = text

    async def run(self) -> None:
        """Run the plugin. Raises SriovError if the kubelet's directory is too deep for a socket.

        A failure after the first look is reported, and the work goes on (background).
        """
        _warn(self._configuration)
        monitor = observer.monitor()  # before the first scan, so that no event between the two is missed
        timings = self._options.timings
        async with asyncio.TaskGroup() as group:
            await self._refresh(group)
            self._giver.sweep()
            if monitor is not None:
                self._keep(group, "listening for uevents", _listening(self._observer, monitor))
            self._keep(group, "listening for link changes", self._observer.listen_to_links)
            group.create_task(self._follow(group))
            for folder, changed in (
                (self._options.registrar.folder, self._nudge),
                (self._options.config.parent, self._wake.set),
            ):
                self._keep(group, f"watching {folder}", functools.partial(_watching, folder, changed, timings))

    def _keep(self, group: asyncio.TaskGroup, name: str, work: background.Work) -> asyncio.Task[None]:
        return group.create_task(self.tasks.keep(name, work))

    def status(self) -> status.Status:
        """Return the status, for the endpoint."""
        waiting = [each.full_name for each in self._ours if each.full_name not in self._served]
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
            waiting=self._text is None,
        )

    @property
    def _ours(self) -> tuple[resources.Resource, ...]:
        """The resources that the kubelet is told of. The others take their devices, so that no device is in two."""
        return self._configuration.published(resources.Publication.DEVICE_PLUGIN)

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rest()):
                    await self._wake.wait()
            await asyncio.sleep(self._options.debounce)
            await self.tasks.keep("reading the node", functools.partial(self._look_again, group))

    async def _look_again(self, group: asyncio.TaskGroup) -> None:
        self._wake.clear()
        self._reload()
        await self._refresh(group)

    def _rest(self) -> float:
        """Return the seconds until the next look that no event asks for."""
        due = self._observer.next_look
        if due is None:
            return self._options.resync
        return min(self._options.resync, max(0.0, due - asyncio.get_running_loop().time()))

    def _reload(self) -> None:
        """Use the file if it has changed and is valid; log each problem with it once."""
        try:
            text = flags.configuration(self._options.config)
            if text == self._text:
                self._config_error = ""
                return
            self._configuration = config.parse(text, str(self._options.config), self._options.prefix)
        except config.ConfigError as error:
            if str(error) != self._config_error:
                self._refused_reloads += 1
                kept = "nothing is advertised" if self._text is None else "keeping the previous configuration"
                log.error("config.json is invalid; %s: %s", kept, error)
            self._config_error = str(error)
            return
        self._text, self._config_error = text, ""
        self._reloads += 1
        log.info("the configuration has changed, it has %d resources", len(self._configuration.resources))
        _warn(self._configuration)

    async def _refresh(self, group: asyncio.TaskGroup) -> None:
        """Look at the node, assign its devices, and publish the pools."""
        try:
            clock = asyncio.get_running_loop().time()
            profiled = self._configuration.asks_for_profiles
            catalog, now = await self._observer.look(clock, self._where, with_profiles=profiled)
        except errors.SriovError as error:
            # Temporary, and no reason to stop. New resources are served all the same, but empty.
            log.error("cannot read the hardware; keeping the last known state: %s", error)
            self._serve(group, tuple(self._known(each) for each in self._ours))
            return
        dealt = assignment.assign(catalog, self._configuration, now, self._where)
        where = {device.id: pool.resource for pool in dealt for device in pool.devices}
        await self._take_back({name for name in where if self._where.get(name, where[name]) != where[name]})
        self._where = where
        self._log(catalog, dealt)
        ours = {each.full_name for each in self._ours}
        self._serve(group, tuple(pool for pool in dealt if pool.resource in ours))

    async def _take_back(self, moving: set[str]) -> None:
        """Take devices out of their old resource before they are in another, so that no two pods are given one."""
        for served in self._served.values() if moving else ():
            pool = served.registration.servicer.pool
            staying = tuple(device for device in pool.devices if device.id not in moving)
            served.registration.servicer.publish(msgspec.structs.replace(pool, devices=staying))
            await self._heard(served.registration)
        if moving:
            await asyncio.sleep(_READING)

    async def _heard(self, registration: session.Registration) -> None:
        """Wait until the kubelet has been told, but not long: it may be away."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.farewell):
                while not registration.servicer.told:
                    await asyncio.sleep(_TURN)

    def _known(self, settings: resources.Resource) -> assignment.Pool:
        served = self._served.get(settings.full_name)
        return assignment.Pool(settings) if served is None else served.registration.servicer.pool

    def _serve(self, group: asyncio.TaskGroup, dealt: tuple[assignment.Pool, ...]) -> None:
        """Publish known resources, register new ones, withdraw those that are gone."""
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
        begun = session.Registration(pool, options.registrar, self._giver, self._wake.set, options.timings)
        return _Served(begun, self._keep(group, f"registering {pool.resource}", begun.run))

    async def _withdraw(self, served: _Served) -> None:
        """Publish an empty pool and end the registration. The kubelet keeps what pods have."""
        servicer = served.registration.servicer
        log.info("%s is withdrawn", servicer.pool.resource)
        self._giver.forget(servicer.pool)
        servicer.publish(assignment.Pool(servicer.pool.settings))
        await self._heard(served.registration)
        served.task.cancel()

    def _log(self, catalog: node_devices.Catalog, dealt: tuple[assignment.Pool, ...]) -> None:
        """Log problems of devices, when they begin and when they end."""
        said = {
            device.id: f"{device.id} of {pool.resource} is unhealthy: it {device.ailment}"
            for pool in dealt
            for device in pool.devices
            if device.ailment
        }
        for one in catalog.candidates.values():
            if one.host_use is not None and one.id not in self._where:
                said[one.id] = f"{one.id} is not offered, it carries traffic of the host: {one.host_use.text}"
        said |= {f"{_GROUP} {group}": text for group, text in assignment.shared_groups(dealt).items()}
        for name in sorted(said.keys() | self._told.keys()):
            if name not in said:
                here = name in catalog.candidates or name.startswith(_GROUP)
                log.info("%s is %s", name, "healthy again" if here else "gone")
            elif self._told.get(name) != said[name]:
                log.warning("%s", said[name])
        self._told = said

    def _nudge(self) -> None:
        for served in self._served.values():
            served.registration.nudge()


def _listening(seen: observer.Observer, first: uevents.Monitor) -> background.Work:
    """Listen to uevents on `first`; after a failure, on a new monitor."""
    monitors = [first]

    async def listen() -> None:
        if not monitors:
            seen.wake()  # events between the two monitors were missed
        await seen.listen(monitors.pop() if monitors else uevents.Monitor())

    return listen


async def _watching(folder: pathlib.Path, changed: Callable[[], None], timings: session.Timings) -> None:
    """Watch the folder, a moment later: loading the library takes a tenth of the time in which the first resource is
    registered. What changes in that moment is seen when the watch begins."""
    await asyncio.sleep(timings.poll)
    from sriov.daemon import folder_watch  # noqa: PLC0415

    asyncio.get_running_loop().call_soon(changed)  # once the watch has begun
    await folder_watch.changes(folder, changed, timings.poll, timings.look)


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
