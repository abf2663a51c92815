"""Observer of the node's hardware: reads it when there is a reason, and reports devices and conditions.

Reasons are uevents, link changes, a refused Allocate, and the slow resync. It returns a catalog and the conditions that
have lasted long enough; the other modules of pools decide what follows from them.
"""

import asyncio
import logging
import pathlib
from collections.abc import Callable, Collection, Mapping

import msgspec

from sriov import devices, errors
from sriov.hardware import ddp, discovery, link_events, node_devices, sysfs, uevents
from sriov.kubelet import checkpoint
from sriov.pools import health
from sriov.state import grants, ledger

log = logging.getLogger(__name__)


class ObservedNode(msgspec.Struct, frozen=True):
    """Where the node shows itself: sysfs, procfs, /dev, the CNI's run directory with its ledger, devlink.

    `checkpoint` is the kubelet's file of given devices; None if it is not read.
    """

    tree: sysfs.Tree = msgspec.field(default_factory=sysfs.Tree)
    proc: pathlib.Path = pathlib.Path("/proc")
    dev: pathlib.Path = pathlib.Path("/dev")
    run_dir: pathlib.Path = pathlib.Path("/run/sriov")
    devlink: ddp.Source = ddp.of_this_machine
    checkpoint: pathlib.Path | None = None


class Patience(msgspec.Struct, frozen=True):
    """Seconds that a state must last before it counts: a PF's link, and a VF that a pod has left behind or that
    another program has open."""

    link: float = 1.0
    cleanup: float = 10.0


class Observer:
    """Reads the node. It calls `wake` when it is time for the next look."""

    def __init__(self, node: ObservedNode, patience: Patience, wake: Callable[[], None]) -> None:
        self._node = node
        self._patience = patience
        self.wake = wake
        self._links: health.Settling | None = None
        self._leftovers = self._foreign = health.Settling()
        self._unclaimed: health.Settling | None = None
        self._given: dict[str, str] = {}
        self._managed: frozenset[devices.PciAddress] = frozenset()
        self._uplinks_known: dict[devices.PciAddress, node_devices.Uplink] = {}
        self.ordinary: Collection[str] = ()
        """VFs whose netdevs come and go with pods, so that such events are ignored."""
        self._memory: discovery.Memory = {}
        self._said = ""

    async def look(
        self,
        now: float,
        where: Mapping[str, str] | None = None,
        *,
        with_profiles: bool = False,
        known: node_devices.Catalog | None = None,
    ) -> tuple[node_devices.Catalog, health.Conditions]:
        """Read everything. `now` is in seconds of any steady clock, `where` the resource of each listed device.

        With `known` devices, of a look shortly before, only the PFs' links and the run directory are read again.
        Raises SriovError.
        """
        node = self._node
        if known is not None:
            catalog = msgspec.structs.replace(known, uplinks=self._links_now())
        else:
            catalog = await asyncio.to_thread(discovery.scan, node.tree, node.proc, node.dev, self._memory)
        if with_profiles and known is None:
            catalog = await self._with_profiles(catalog)
        left = await asyncio.to_thread(health.leftovers, catalog, ledger.Ledger(node.run_dir))
        claimed = await asyncio.to_thread(grants.claims, node.run_dir)
        held, kubelet = await asyncio.to_thread(self._holders)
        seen = health.down(catalog)
        # A PF that is down from the start has been down for long enough.
        before = self._links or health.Settling(told=seen)
        self._links = health.settle(before, seen, now, self._patience.link)
        self._leftovers = health.settle(self._leftovers, left, now, self._patience.cleanup)
        others = health.foreign(catalog, {*held, *claimed}, kubelet)
        self._foreign = health.settle(self._foreign, others, now, self._patience.cleanup)
        self._given = health.given(self._given, held, where or {}, kubelet or {})
        # A claim's pod is in the ledger only while the claim is prepared, but the two are not read in one moment.
        otherwise = health.by_no_claim(held, claimed)
        had = self._unclaimed or health.Settling(told=otherwise)
        self._unclaimed = health.settle(had, otherwise, now, self._patience.link)
        self._managed |= {one.pci for one in catalog.candidates.values() if one.numvfs}
        vfs = (one for one in catalog.candidates.values() if one.role is node_devices.Role.VF)
        self.ordinary = {one.id for one in vfs if not one.without_netdev}  # a netdev that comes late is news
        return catalog, health.Conditions(
            self._links.told,
            self._leftovers.told,
            self._managed,
            self._foreign.told,
            self._given,
            claimed,
            self._unclaimed.told,
        )

    def _holders(self) -> tuple[Collection[str], checkpoint.Given | None]:
        """Return the VFs in the ledger and the devices that the kubelet gave; none for a ledger that is unreadable."""
        given = None if self._node.checkpoint is None else checkpoint.read(self._node.checkpoint)
        try:
            return ledger.Ledger(self._node.run_dir).held(), given
        except errors.LedgerError as error:
            log.debug("%s", error)
            return frozenset(), None

    async def _with_profiles(self, catalog: node_devices.Catalog) -> node_devices.Catalog:
        catalog, trouble = await asyncio.to_thread(with_profiles, catalog, self._node.devlink)
        if trouble and trouble != self._said:
            log.warning("%s", trouble)
        self._said = trouble
        return catalog

    @property
    def next_look(self) -> float | None:
        """When some state may have lasted long enough, by the clock of `look`."""
        quick = ((each or health.Settling()).next_look(self._patience.link) for each in (self._links, self._unclaimed))
        slower = (each.next_look(self._patience.cleanup) for each in (self._leftovers, self._foreign))
        return min((each for each in (*quick, *slower) if each is not None), default=None)

    async def listen(self, monitor: uevents.Monitor) -> None:
        """Wake at uevents, without end. Raises KernelError if the kernel reports no more."""
        async for event in uevents.watch(monitor):
            if matters(event, self.ordinary):
                log.debug("uevent: %s %s %s", event.action, event.subsystem, event.name)
                self.wake()

    async def listen_to_links(self) -> None:
        """Wake when the link of a PF changes; other links change with every pod."""
        try:
            heard = link_events.monitor()
        except errors.KernelError as error:
            log.warning("cannot receive link changes, they are seen at the next resync: %s", error)
            return
        async for _ in link_events.changes(heard):
            self._compare_links(self.wake)

    async def poll_links(self, seconds: float, changed: Callable[[], None]) -> None:
        """As listen_to_links, for a program that is not in the host's network namespace: it hears of no link there."""
        while True:
            self._compare_links(changed)
            await asyncio.sleep(seconds)

    def _compare_links(self, changed: Callable[[], None]) -> None:
        now = self._links_now()
        if now != self._uplinks_known:
            self._uplinks_known = now
            changed()

    def _links_now(self) -> dict[devices.PciAddress, node_devices.Uplink]:
        return {pf: discovery.uplink(self._node.tree, pf, netdev) for pf, netdev in self._uplinks().items()}

    def _uplinks(self) -> dict[devices.PciAddress, str]:
        named = ((pf, self._node.tree.netdev_name(pf)) for pf in self._managed)
        return {pf: netdev for pf, netdev in named if netdev is not None}


def matters(event: uevents.Event, vfs: Collection[str]) -> bool:
    """Report whether pools may change after this event.

    Every pod causes netdev events, of its veth and of its VF on the way in and out: those change nothing.
    """
    return event.subsystem != "net" or (event.pci is not None and event.pci not in vfs)


def monitor() -> uevents.Monitor | None:
    """Open the monitor; None if the kernel reports no uevents: then the resync has to do."""
    try:
        return uevents.Monitor()
    except errors.KernelError as error:
        log.warning("cannot receive uevents, changes are seen at the next resync: %s", error)
        return None


def with_profiles(catalog: node_devices.Catalog, source: ddp.Source) -> tuple[node_devices.Catalog, str]:
    """Each device with its DDP profile, and what the log is to say if `ddpProfiles` can match none."""
    filled, trouble = ddp.fill_in(catalog, source)
    if trouble is None:
        return filled, ""
    if isinstance(trouble, errors.DeviceError):
        return filled, f"ddpProfiles matches nothing: {trouble}; is the plugin in the host's network namespace?"
    trouble.remedy = trouble.remedy or "try `devlink dev info` where the device plugin runs, or leave ddpProfiles out"
    return filled, f"ddpProfiles matches nothing: {trouble}"
