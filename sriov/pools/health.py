"""What makes devices unhealthy for now, and how long it must last before the kubelet hears of it. Pure.

A link that flaps must not thrash the kubelet, which writes its checkpoint to disk at every list; and the ledger has a
VF's record shortly before it leaves the host and until just after it is back. So both count only once they have
lasted, in both directions.
"""

import dataclasses
from collections.abc import Collection, Mapping

from sriov import devices
from sriov.hardware import node_devices


@dataclasses.dataclass(frozen=True, slots=True)
class Conditions:
    """`down`: PFs without a link, by address; `dirty`: devices that a pod left behind; each with the reason.

    `foreign`: devices that a program has open which is no pod's. `managed` are PFs whose VFs are, or were, what pods
    are given, so that the PF itself never is. `given`: the resource as which the pod that has a VF was given it.
    """

    down: Mapping[str, str] = dataclasses.field(default_factory=dict)
    dirty: Mapping[str, str] = dataclasses.field(default_factory=dict)
    managed: frozenset[devices.PciAddress] = frozenset()
    foreign: Mapping[str, str] = dataclasses.field(default_factory=dict)
    given: Mapping[str, str] = dataclasses.field(default_factory=dict)


NONE = Conditions()


def down(catalog: node_devices.Catalog) -> dict[str, str]:
    """PFs that cannot carry traffic now. One without a netdev, as with a userspace driver, says nothing."""
    found: dict[str, str] = {}
    for pf, link in catalog.uplinks.items():
        if not link.up:
            found[pf] = f"has its PF {link.netdev} down"
        elif link.carrier is False:
            found[pf] = f"has its PF {link.netdev} without carrier"
    return found


def foreign(catalog: node_devices.Catalog, held: Collection[str], kubelet: Collection[str] | None) -> dict[str, str]:
    """Devices that a program has open though no pod was given them. `held` are the ledger's, `kubelet` what the kubelet
    has given; where that is not known, whoever has a device open may be a pod."""
    if kubelet is None:
        return {}
    return {
        one.id: "is open in a program that is no pod's, such as a virtual machine (vfio)"
        for one in catalog.candidates.values()
        if one.vfio is not None and one.vfio.is_open and one.id not in held and one.id not in kubelet
    }


def given(
    before: Mapping[str, str], held: Collection[str], where: Mapping[str, str], kubelet: Mapping[str, Collection[str]]
) -> dict[str, str]:
    """As which resource each VF that a pod holds was given to it; where that is not known, it is left out.

    What was known `before` counts as long as the VF is held, else the resource `where` it is listed, else the only one
    as which the kubelet has given it.
    """
    known = {}
    for pci in held:
        names = tuple(kubelet.get(pci, ()))
        found = before.get(pci) or where.get(pci) or (names[0] if len(names) == 1 else None)
        if found is not None:
            known[pci] = found
    return known


@dataclasses.dataclass(frozen=True, slots=True)
class Settling:
    """What is told of some keys, and since when the node has said otherwise (seconds of any steady clock)."""

    told: Mapping[str, str] = dataclasses.field(default_factory=dict)
    doubted: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def next_look(self, delay: float) -> float | None:
        """When the oldest doubt is over."""
        return min(self.doubted.values()) + delay if self.doubted else None


def settle(before: Settling, seen: Mapping[str, str], now: float, delay: float) -> Settling:
    """Take in what is seen now; a key that differs from what is told is told anew after `delay` seconds of that."""
    differs = [key for key in before.told.keys() | seen.keys() if (key in before.told) != (key in seen)]
    doubted = {key: before.doubted.get(key, now) for key in differs}
    over = {key for key, since in doubted.items() if now - since >= delay}
    told = {key: seen.get(key, text) for key, text in before.told.items() if key not in over}
    told |= {key: text for key, text in seen.items() if key in over}
    return Settling(told, {key: since for key, since in doubted.items() if key not in over})
