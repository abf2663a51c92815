"""Snapshot of the node as both daemons see it: hardware, pools, ledger, kubelet, recent calls. Changes nothing.

Pools and health are decided by the device plugin's own pure code, so that what is shown is what the kubelet is told;
only conditions that must last for some time (a link that flaps) are taken as they are now. Whatever cannot be read is
named in `unseen`, and the rest is shown all the same.
"""

import enum
import logging
from collections.abc import Iterator, Mapping

import msgspec

from sriov import devices, errors
from sriov.hardware import ddp, discovery, node_devices, sysfs
from sriov.pools import assignment, config, health, resources
from sriov.state import call_log, grants, ledger, predecessor
from sriovctl import paths, sight
from sriovctl.node import kubelet


class Attacher(enum.Enum):
    """Program that attached a VF, and that wrote down what is known of it."""

    OURS = "sriov-underlay"
    PREDECESSOR = "sriov-cni"


class HeldVf(msgspec.Struct, frozen=True):
    """A record, since when it exists, in seconds since 1970, and whose it is."""

    record: ledger.Record
    since: float | None
    by: Attacher = Attacher.OURS


class Survey(msgspec.Struct, frozen=True):
    """`configuration` is None if it cannot be used; `config_trouble` is the reason. `members` are pool and device by
    the device's ID. `held` lacks what could not be read: `ledger_trouble`; `granted` are claims' grants by device, none
    if they could not be read: `grants_trouble`. `hidden` are paths of the node that cannot
    be seen from here, by what they are about; `unseen` is for people."""

    tree: sysfs.Tree
    catalog: node_devices.Catalog
    now: health.Conditions
    configuration: resources.Configuration | None
    config_trouble: str
    dealt: tuple[assignment.Pool, ...]
    members: Mapping[str, tuple[assignment.Pool, assignment.Device]]
    held: Mapping[devices.PciAddress, HeldVf]
    granted: Mapping[str, grants.ClaimGrant]
    told: kubelet.Told
    calls: tuple[call_log.CallOutcome, ...]
    ledger_trouble: str
    grants_trouble: str
    unseen: tuple[str, ...]
    sight: sight.Visibility
    hidden: Mapping[str, str]

    @property
    def by_claims(self) -> frozenset[str]:
        """The resources that are published for claims, and not by the device plugin."""
        return frozenset(pool.resource for pool in self.dealt if pool.settings.publish is resources.Publication.DRA)

    def pod_of(self, device: str) -> str | None:
        """Return the device's pod as namespace/name: by the kubelet, else by the call that attached it, else by its
        claim."""
        holder = self.told.holders.get(device)
        if holder is not None:
            return str(holder)
        held = self.held.get(devices.PciAddress(device))
        if held is not None:
            return self.pod_of_container(held.record.owner.container_id)
        grant = self.granted.get(device)
        return f"{grant.namespace}/{grant.pods[0].name}" if grant is not None and grant.pods else None

    def pod_of_container(self, container_id: str) -> str | None:
        """Return a container's pod by the daemon's log of recent calls: a runtime names the pod in its calls."""
        known = (each for each in reversed(self.calls) if each.container_id == container_id and each.pod)
        found = next(known, None) if container_id else None
        return None if found is None else f"{found.namespace}/{found.pod}"


def take(where: paths.Places) -> Survey:
    """Read everything. Raises DeviceError if there is no sysfs to read."""
    for name in ("ledger", "predecessor"):  # a damaged record is shown, not logged
        logging.getLogger(f"sriov.state.{name}").setLevel(logging.ERROR)
    tree = sysfs.Tree(where.sysfs)
    catalog = discovery.scan(tree, where.proc, where.dev)
    book = ledger.Ledger(where.run_dir)
    seeing = sight.look(where)
    hidden = sight.hidden(seeing, where)
    configuration, trouble = _configuration(where, hidden)
    if configuration is not None and configuration.asks_for_profiles:
        catalog, _ = ddp.fill_in(catalog, ddp.of_this_machine)
    managed = frozenset(one.pci for one in catalog.candidates.values() if one.numvfs)
    granted, grants_trouble = _granted(where)
    claimed = grants.told_of(granted)
    now = health.Conditions(
        health.down(catalog),
        health.leftovers(catalog, book),
        managed,
        claimed=claimed,
        unclaimed=health.by_no_claim(_in_pods(book), claimed),
    )
    told = kubelet.Told(trouble=hidden["pods"]) if "pods" in hidden else kubelet.ask(where.pod_resources)
    held, ledger_trouble = _held(book, hidden)
    older, older_trouble = _held_before(predecessor.Upstream(where.predecessor), catalog, hidden)
    held = older | held
    dealt = () if configuration is None else assignment.assign(catalog, configuration, now)
    return Survey(
        tree,
        catalog,
        now,
        configuration,
        trouble,
        dealt,
        {device.id: (pool, device) for pool in dealt for device in pool.devices},
        held,
        granted,
        told,
        call_log.Recent(where.run_dir).read(),
        ledger_trouble,
        grants_trouble,
        tuple(filter(None, _unseen(trouble, told.trouble, ledger_trouble, older_trouble, grants_trouble))),
        seeing,
        hidden,
    )


def _in_pods(book: ledger.Ledger) -> frozenset[str]:
    try:
        return book.held()
    except errors.LedgerError:
        return frozenset()  # which is told with what the ledger's records are


def _configuration(where: paths.Places, hidden: Mapping[str, str]) -> tuple[resources.Configuration | None, str]:
    if "configuration" in hidden:
        return None, hidden["configuration"]
    try:
        return config.load(where.config, where.prefix), ""
    except config.UnreadableError as error:
        return None, f"{error}; name the file with --config-file"
    except config.ConfigError as error:
        return None, str(error)


def _held(book: ledger.Ledger, hidden: Mapping[str, str]) -> tuple[dict[devices.PciAddress, HeldVf], str]:
    if "daemon" in hidden:
        return {}, hidden["daemon"]
    try:
        return {record.pci: HeldVf(record, book.since(record.pci)) for record in book.records()}, ""
    except errors.LedgerError as error:
        return {}, str(error)


def _held_before(
    records: predecessor.Upstream, catalog: node_devices.Catalog, hidden: Mapping[str, str]
) -> tuple[dict[devices.PciAddress, HeldVf], str]:
    """Return VFs that sriov-cni attached and that are away from the host.

    Its files outlive a reboot: one about a VF that is in the host, or is gone, tells nothing.
    """
    if "predecessor" in hidden:
        return {}, hidden["predecessor"]
    away = {one.pci for one in catalog.candidates.values() if not one.netdevs}
    try:
        found = [each for each in records.written() if each.record.pci in away]
    except errors.LedgerError as error:
        return {}, str(error)
    return {each.record.pci: HeldVf(each.record, each.since, Attacher.PREDECESSOR) for each in found}, ""


def _granted(where: paths.Places) -> tuple[Mapping[str, grants.ClaimGrant], str]:
    try:
        return grants.Grants(where.run_dir).by_device(), ""
    except errors.LedgerError as error:
        return {}, str(error)


def _unseen(
    config: str, kubelet_trouble: str, ledger_trouble: str, older_trouble: str, grants_trouble: str
) -> Iterator[str]:
    yield f"pools and health: {config}" if config else ""
    yield f"pods: {kubelet_trouble}" if kubelet_trouble else ""
    yield f"owners: {ledger_trouble}" if ledger_trouble else ""
    yield f"VFs that sriov-cni attached: {older_trouble}" if older_trouble else ""
    yield f"claims: {grants_trouble}" if grants_trouble else ""
