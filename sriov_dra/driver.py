"""The driver: the node's inventory published as slices, claims prepared for the kubelet, health told to it."""

import asyncio
import functools
import logging
import pathlib

import msgspec

from sriov.apiserver import connection, watching
from sriov.daemon import background
from sriov.hardware import discovery
from sriov.kubelet import checkpoint
from sriov.state import grants, ledger
from sriov_dra import api, inventory, snapshot
from sriov_dra.claims import claim_files, node_networks, preparing
from sriov_dra.hook import installed
from sriov_dra.kubelet import health_service, old_pods, serving
from sriov_dra.publishing import planning, publisher, slice_objects
from sriov_dra.reporting import reporter

_log = logging.getLogger(__name__)


class DriverOptions(msgspec.Struct, frozen=True):
    """Names and places. `kubelet` is its folder, `hook` the claim hook's program, `pod_uid` this pod's, "" outside of a
    rolling update."""

    driver: str
    inventory: inventory.PublishedNodeOptions
    run_dir: pathlib.Path
    kubelet: pathlib.Path
    specs: pathlib.Path
    networks: pathlib.Path
    hook: pathlib.Path
    pod_uid: str = ""
    patience: float = preparing.PATIENCE
    timings: watching.WatchTimings = msgspec.field(default_factory=lambda: watching.WatchTimings(longest=10.0))

    @property
    def node(self) -> str:
        return self.inventory.node


class Driver:
    """For one event loop. `run` ends only by cancellation, or by what no retry can repair."""

    def __init__(self, options: DriverOptions, server: connection.ApiServer) -> None:
        """Raises SriovError for a configuration that is invalid, and for paths that are too long."""
        self.tasks = background.Background()
        self._options, self._server, self._api = options, server, api.DraServer(server)
        self._sockets = serving.sockets(options.kubelet, options.driver, options.pod_uid)
        self._inventory = inventory.PublishedNode(options.inventory, self.tasks, self._taken)
        self._board = health_service.HealthBoard()
        self._snapshot: snapshot.NodeSnapshot | None = None
        self._grants = grants.Grants(options.run_dir)
        plugin = options.kubelet / "plugins" / options.driver
        self._files = claim_files.ClaimFiles(options.driver, options.specs, plugin)
        self._hook = installed.ClaimHook(options.hook, plugin)
        self.preparer = preparing.Preparer(self._surroundings())
        self.service = serving.DriverService(options.driver, self._sockets, self.preparer, self._board)
        self.reporter = reporter.StatusReporter(options.driver, options.run_dir, self._api, options.timings)
        self.publisher: publisher.SlicePublisher | None = None

    def _surroundings(self) -> preparing.Surroundings:
        options = self._options
        return preparing.Surroundings(
            files=self._files,
            grants=self._grants,
            ledger=ledger.Ledger(options.run_dir),
            source=self._api,
            old_pods=old_pods.KubeletPods(
                options.kubelet / "device-plugins" / checkpoint.NAME, options.kubelet / "pod-resources/kubelet.sock"
            ),
            taken=self._present,
            changed=functools.partial(discovery.difference, options.inventory.observed.tree),
            named=node_networks.NodeNetworks(options.networks).named,
            hook=self._hook.ready,
            patience=options.patience,
        )

    async def run(self) -> None:
        """Run the driver. The kubelet can call once the node has been read: claims may be waiting since a reboot."""
        self._grants.create()
        self._files.sweep({each.uid for each in self._grants.all()})
        self._hook.announce()
        await self._inventory.first()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.tasks.keep("following the node", self._inventory.run))
            group.create_task(self.tasks.keep("serving the kubelet", self.service.run))
            group.create_task(self.tasks.keep("publishing slices", self._publish))
            group.create_task(self.tasks.keep("writing the status of claims", self.reporter.run))

    def problems(self) -> list[str]:
        """Return what keeps claims from being served, a line for each."""
        publishing = "the node's object has not been read yet" if self.publisher is None else self.publisher.problem
        config = self._inventory.config_error
        kept = f"config.json is invalid, the previous configuration is in force: {config}" if config else ""
        return [each for each in (self.service.problem, publishing, kept, *self.tasks.problems()) if each]

    def _present(self) -> snapshot.NodeSnapshot:
        assert self._snapshot is not None  # the node is read before anything is served
        return self._snapshot

    def _taken(self, latest: snapshot.NodeSnapshot) -> None:
        self._snapshot = latest
        self._board.show(latest)
        if self.publisher is not None:
            self._show(self.publisher, latest)

    def _show(self, publishing: publisher.SlicePublisher, latest: snapshot.NodeSnapshot) -> None:
        node, driver = self._options.node, self._options.driver
        publishing.publish(lambda with_taints: latest.slices(node, driver, with_taints=with_taints))

    async def _publish(self) -> None:
        """Publish and watch until cancelled. The node's UID makes it the slices' owner."""
        options = self._options
        owner = slice_objects.OwnerNode(options.node, await self._node_uid())
        who = planning.Issuer(options.driver, options.node, owner)
        self.publisher = publisher.SlicePublisher(who, self._api, options.timings)
        kind = api.slices(options.driver, options.node)
        watcher = watching.KindWatcher(kind, self._server, self.publisher.store, _nothing, options.timings)
        self._show(self.publisher, self._present())
        async with asyncio.TaskGroup() as group:
            group.create_task(watcher.run())
            group.create_task(self.publisher.run(watcher.listed))

    async def _node_uid(self) -> str:
        """Ask until there is an answer: what is prepared needs no slices."""
        failures = 0
        while True:
            try:
                return await self._api.node_uid(self._options.node)
            except connection.FailedError as error:
                failures += 1
                pause = self._options.timings.drawn_pause(failures)
                _log.warning("%s; next try in %.1f s", error, pause)
                await asyncio.sleep(pause)


def _nothing() -> None:
    """The store itself tells the publisher of changes."""
