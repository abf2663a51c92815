"""Which RDMA device nodes each pod was given: those that its VF had when the pod's first ADD came.

The kubelet asks the device plugin for them once, when it admits the pod, and says to nobody what the answer was; all
later sandboxes of the pod have them. So the same pod's next ADD must find the same, whatever a failed one has changed.
In memory: the first ADD after the daemon's start counts as a pod's first. For use from the event loop alone.
"""

import dataclasses

from sriov import devices


@dataclasses.dataclass(frozen=True, slots=True)
class _Promise:
    pod: str
    nodes: tuple[str, ...]
    waited: bool = False


class Promises:
    """One a VF at most: a VF is one pod's at a time. `pod` is any name that no other pod has."""

    def __init__(self) -> None:
        self._kept: dict[devices.PciAddress, _Promise] = {}

    def note(self, pci: devices.PciAddress, pod: str, nodes: tuple[str, ...]) -> None:
        """The pod's ADD has come, and these are the VF's nodes now, as in `uverbs3`."""
        known = self._kept.get(pci)
        if nodes and (known is None or known.pod != pod):
            self._kept[pci] = _Promise(pod, nodes)

    def of(self, pci: devices.PciAddress) -> tuple[str, ...]:
        """What the pod counts on that came last."""
        known = self._kept.get(pci)
        return known.nodes if known else ()

    def wait(self, pci: devices.PciAddress) -> bool:
        """Whether this pod may be told to come again: once."""
        known = self._kept.get(pci)
        if known is None or known.waited:
            return False
        self._kept[pci] = dataclasses.replace(known, waited=True)
        return True
