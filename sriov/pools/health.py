"""Conditions that make devices unhealthy, and how long they must last before the kubelet is told.

A link that flaps must not flood the kubelet, which writes its checkpoint to disk at every list. And the ledger has a
VF's record from shortly before it leaves the host until just after it is back. So both conditions count only once they
have lasted, in both directions.
"""

import enum
from collections.abc import Collection, Iterator, Mapping

import msgspec

from sriov import devices, errors
from sriov.hardware import node_devices
from sriov.pools import resources
from sriov.state import ledger


class AilmentKind(enum.Enum):
    """Kind of what is wrong with a device; the value is the name of its taint."""

    GOING = "going"
    NO_DRIVER = "no-driver"
    IN_USE = "in-use"
    UNCLEAN = "unclean"
    LINK_DOWN = "link-down"
    HELD = "held"


class Ailment(msgspec.Struct, frozen=True):
    """What is wrong with a device; the text goes on from "it"."""

    kind: AilmentKind
    text: str


class Conditions(msgspec.Struct, frozen=True):
    """Conditions of the node. `down`: PFs without a link, by address; `dirty`: devices left behind by a pod.

    Both have the reason as value. `foreign`: devices opened by a program that is no pod's. `managed`: PFs whose VFs
    are, or were, given to pods, so that the PF itself never is. `given`: the resource as which a held VF was given.
    `claimed`: devices that are prepared for a claim, with it as value; `unclaimed`: devices that a pod has otherwise.
    """

    down: Mapping[str, str] = msgspec.field(default_factory=dict)
    dirty: Mapping[str, str] = msgspec.field(default_factory=dict)
    managed: frozenset[devices.PciAddress] = frozenset()
    foreign: Mapping[str, str] = msgspec.field(default_factory=dict)
    given: Mapping[str, str] = msgspec.field(default_factory=dict)
    claimed: Mapping[str, str] = msgspec.field(default_factory=dict)
    unclaimed: Mapping[str, str] = msgspec.field(default_factory=dict)


NONE = Conditions()


def ailments(checks: resources.Checks, one: node_devices.Candidate, now: Conditions) -> Iterator[Ailment]:
    """Yield what is wrong with a device, the worst first. A netdev that is absent may be in a pod: that is nothing."""
    if one.going:
        yield Ailment(AilmentKind.GOING, node_devices.GOING)
    if checks.driver and one.driver is None:
        yield Ailment(AilmentKind.NO_DRIVER, "has no driver")
    elif checks.driver and one.role is node_devices.Role.VF and one.without_netdev:
        yield Ailment(AilmentKind.NO_DRIVER, f"has no netdev: its driver {one.driver} has brought none")
    if one.id in now.foreign:
        yield Ailment(AilmentKind.IN_USE, now.foreign[one.id])
    if checks.cleanup and one.id in now.dirty:
        yield Ailment(AilmentKind.UNCLEAN, now.dirty[one.id])
    if checks.pf and one.pf is not None and one.pf in now.down:
        yield Ailment(AilmentKind.LINK_DOWN, now.down[one.pf])


def held(publish: resources.Publication, one: node_devices.Candidate, now: Conditions) -> Ailment | None:
    """Report a device that a pod has in the other way: the kubelet and the scheduler each count by themselves."""
    holders = now.unclaimed if publish is resources.Publication.DRA else now.claimed
    return Ailment(AilmentKind.HELD, holders[one.id]) if one.id in holders else None


def down(catalog: node_devices.Catalog) -> dict[str, str]:
    """Return PFs that cannot carry traffic now. A PF without a netdev, as with a userspace driver, is left out."""
    found: dict[str, str] = {}
    for pf, link in catalog.uplinks.items():
        if not link.up:
            found[pf] = f"has its PF {link.netdev} down"
        elif link.carrier is False:
            found[pf] = f"has its PF {link.netdev} without carrier"
    return found


def foreign(catalog: node_devices.Catalog, held: Collection[str], kubelet: Collection[str] | None) -> dict[str, str]:
    """Return devices that a program has open though no pod was given them. `held` are the ledger's, `kubelet` what the
    kubelet has given; if that is unknown, none is returned: any program that has a device open may be a pod's."""
    if kubelet is None:
        return {}
    return {
        one.id: "is open in a program outside of pods, such as a virtual machine (vfio)"
        for one in catalog.candidates.values()
        if one.vfio is not None and one.vfio.is_open and one.id not in held and one.id not in kubelet
    }


def given(
    before: Mapping[str, str], held: Collection[str], where: Mapping[str, str], kubelet: Mapping[str, Collection[str]]
) -> dict[str, str]:
    """Return the resource as which each VF that a pod holds was given; VFs for which that is unknown are left out.

    The resource known `before` counts as long as the VF is held, else the resource `where` it is listed, else the only
    one as which the kubelet has given it.
    """
    known = {}
    for pci in held:
        names = tuple(kubelet.get(pci, ()))
        found = before.get(pci) or where.get(pci) or (names[0] if len(names) == 1 else None)
        if found is not None:
            known[pci] = found
    return known


class Settling(msgspec.Struct, frozen=True):
    """Reported state of some keys, and since when the node has differed from it (seconds of any steady clock)."""

    told: Mapping[str, str] = msgspec.field(default_factory=dict)
    doubted: Mapping[str, float] = msgspec.field(default_factory=dict)

    def next_look(self, delay: float) -> float | None:
        """Return when the oldest difference has lasted for `delay` seconds."""
        return min(self.doubted.values()) + delay if self.doubted else None


def settle(before: Settling, seen: Mapping[str, str], now: float, delay: float) -> Settling:
    """Take in what is seen now; a key that has differed from the reported state for `delay` seconds changes it."""
    differs = [key for key in before.told.keys() | seen.keys() if (key in before.told) != (key in seen)]
    doubted = {key: before.doubted.get(key, now) for key in differs}
    over = {key for key, since in doubted.items() if now - since >= delay}
    told = {key: seen.get(key, text) for key, text in before.told.items() if key not in over}
    told |= {key: text for key, text in seen.items() if key in over}
    return Settling(told, {key: since for key, since in doubted.items() if key not in over})


def leftovers(catalog: node_devices.Catalog, book: ledger.Ledger) -> dict[str, str]:
    """Return VFs that no pod may be given: those in the host that have a record, those that could not be taken back
    when that was tried, wherever they are, and those whose record cannot be read. Raises nothing.
    """
    vfs = (one for one in catalog.candidates.values() if one.role is node_devices.Role.VF)
    found = ((one.id, _leftover(book, one)) for one in vfs)
    return {name: why for name, why in found if why is not None}


def _leftover(book: ledger.Ledger, one: node_devices.Candidate) -> str | None:
    try:
        record = book.read(one.pci)
    except errors.LedgerError as error:
        return f"has a record of a pod that cannot be read: {error}"
    if record is None:
        return None
    if record.problem:
        return f"could not be taken back from its pod: {record.problem}"
    return "was left behind by a pod and is not clean yet" if one.netdevs else None


def by_no_claim(held: Collection[str], claimed: Collection[str]) -> dict[str, str]:
    """Return the devices that a pod has, but not by a claim."""
    return {pci: "is in a pod that has it by no claim" for pci in held if pci not in claimed}
