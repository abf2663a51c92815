"""Users of VFs, which must not be touched. Reads only; if the user of a VF cannot be found out, nothing is done.

A VF is in use if the ledger has its record, the kubelet reports a pod, its netdev is in another namespace, a process
has its userspace driver's device node open, or the device plugin would not offer it: an address of the host, a bond.
"""

import os
import pathlib
import re
from collections.abc import Mapping

import msgspec

from sriov import devices, errors
from sriov.hardware import host_networking, sysfs
from sriov.state import ledger

# A container's device nodes may be at another path, so the end of it counts.
_NODE = re.compile(r".*/(?P<node>vfio/((noiommu-)?\d+|devices/vfio\d+)|uio\d+)")


class Users(msgspec.Struct, frozen=True):
    """Observation of a node. `pods` is the kubelet's report, by PCI address; `held` are the ledger's records."""

    tree: sysfs.Tree
    held: Mapping[devices.PciAddress, ledger.Record]
    pods: Mapping[str, str]
    host_use: host_networking.Lookup
    opened: Mapping[str, str]

    def user(self, pci: devices.PciAddress) -> str | None:
        """Return the user in words that complete "in use by"; None if there is none."""
        if pod := self.pods.get(pci):
            return f"pod {pod}"
        record = self.held.get(pci)
        if record is not None and record.device in (0, self.tree.birth(pci)):
            return f"{record.owner}{f' in {record.owner.netns}' if record.owner.netns else ''}"
        driver = sysfs.target(self.tree.pci(pci) / "driver")
        if sysfs.is_userspace(str(self.tree.pci(pci)), driver):
            return next((self.opened[node] for node in self._nodes(pci) if node in self.opened), None)
        return None if driver is None else self._of_netdevs(pci, driver)

    def _of_netdevs(self, pci: devices.PciAddress, driver: str) -> str | None:
        """Return the user of the VF's netdevs; None also if its driver has brought no netdev at all."""
        folder = str(self.tree.pci(pci))
        folders = tuple(sysfs.net_folders(folder, sysfs.names(folder)))
        found = [(name, where) for where in folders for name in sysfs.names(where)]
        if not found and self.without_netdev(pci):
            return None
        if not found:
            return f"another network namespace (driver {driver}, no netdev in the host)"
        uses = (self.host_use(name, f"{where}/{name}") for name, where in found)
        return next((f"the host: {use.text}" for use in uses if use), None)

    def without_netdev(self, pci: devices.PciAddress) -> bool:
        """Report whether its driver has brought it no netdev in any namespace."""
        folder = str(self.tree.pci(pci))
        return sysfs.without_netdev(folder, sysfs.names(folder), sysfs.target(f"{folder}/driver"))

    def _nodes(self, pci: devices.PciAddress) -> list[str]:
        folder = self.tree.pci(pci)
        group = sysfs.target(folder / "iommu_group")
        numbered = [f"vfio/{group}", f"vfio/noiommu-{group}"] if group else []
        return [
            *numbered,
            *(f"vfio/devices/{name}" for name in sysfs.names(folder / "vfio-dev")),
            *sysfs.names(folder / "uio"),
        ]


def look(tree: sysfs.Tree, proc: pathlib.Path, book: ledger.Ledger, pods: Mapping[str, str]) -> Users:
    """Observe the node. Raises LedgerError if the ledger cannot be read."""
    held = {record.pci: record for record in book.records()}
    return Users(tree, held, pods, host_networking.finder(proc), opened(proc))


def opened(proc: pathlib.Path) -> dict[str, str]:
    """Return the userspace drivers' nodes that processes have open: `vfio/12`, `uio0`, each with its process.

    Raises BusyError if a process's files cannot be read: one of them may be a VF.
    """
    found = {}
    for pid in (name for name in sysfs.names(proc) if name.isdecimal()):
        for descriptor in _descriptors(proc / pid / "fd"):
            target = "/".join(sysfs.link(proc / pid / "fd" / descriptor))
            if match := _NODE.fullmatch(target):
                found[match["node"]] = f"process {pid} ({sysfs.text(proc / pid / 'comm')})"
    return found


def _descriptors(folder: pathlib.Path) -> list[str]:
    try:
        return os.listdir(folder)
    except PermissionError as error:
        raise errors.BusyError(f"{folder} cannot be read, so who has a VF open is unknown", "run it as root") from error
    except OSError:  # the process has ended
        return []
