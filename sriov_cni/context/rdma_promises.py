"""RDMA device nodes promised to each pod: those that its VF had when the pod's first ADD came.

The kubelet asks the device plugin for them once, when it admits the pod, and reports the answer to nobody; all later
sandboxes of the pod get them. So the same pod's next ADD must find the same nodes, whatever a failed ADD has changed.
In memory: the first ADD after the daemon's start counts as a pod's first. For the event loop's own thread only.
"""

import msgspec

from sriov import devices


class _Promise(msgspec.Struct, frozen=True):
    pod: str
    nodes: tuple[str, ...]
    waited: bool = False


class Promises:
    """At most one promise for each VF, which only one pod has at a time. `pod` is any name that no other pod has."""

    def __init__(self) -> None:
        self._kept: dict[devices.PciAddress, _Promise] = {}

    def note(self, pci: devices.PciAddress, pod: str, nodes: tuple[str, ...]) -> None:
        """Note the VF's present nodes, as in `uverbs3`, at the pod's first ADD."""
        known = self._kept.get(pci)
        if nodes and (known is None or known.pod != pod):
            self._kept[pci] = _Promise(pod, nodes)

    def of(self, pci: devices.PciAddress) -> tuple[str, ...]:
        """Return the nodes promised to the VF's last pod."""
        known = self._kept.get(pci)
        return known.nodes if known else ()

    def wait(self, pci: devices.PciAddress) -> bool:
        """Report whether this pod may be told to try again; True only once."""
        known = self._kept.get(pci)
        if known is None or known.waited:
            return False
        self._kept[pci] = msgspec.structs.replace(known, waited=True)
        return True
