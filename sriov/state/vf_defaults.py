"""Per-VF defaults from the provisioning file: they replace the baseline for settings that a network does not name.

They are never taken from the VF itself, which may still be as a lost owner left it. Only `sriovctl provision` writes
them, and the CNI daemon reads them at each ADD and DEL: one small file for each VF in the run directory, apart from the
daemon's own file of that VF (in `homes/`), so that neither overwrites the other's. New VFs that sriov_numvfs makes are
other devices, with no defaults. A daemon of another version ignores keys that it does not know, and takes missing ones
as not declared.
"""

import logging
import pathlib

import msgspec

from sriov import devices, errors, settings
from sriov.hardware import sysfs
from sriov.state import vf_files

_log = logging.getLogger(__name__)


class _Written(vf_files.Born, frozen=True):
    declared: settings.Switches


_WRITTEN = msgspec.json.Decoder(_Written)


class Defaults:
    """The files below `folder`. Raises LedgerError if the directory cannot be used."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._files = vf_files.Folder(folder, _WRITTEN)

    def create(self) -> None:
        self._files.create()

    def of(self, tree: sysfs.Tree, pci: devices.PciAddress) -> settings.Switches:
        """Return the VF's defaults. A file that cannot be read declares nothing, and is logged."""
        return self.written(tree, pci) or settings.UNNAMED

    def written(self, tree: sysfs.Tree, pci: devices.PciAddress) -> settings.Switches | None:
        """Return the VF's defaults; None if its file cannot be read."""
        try:
            found = self._files.last(pci)
        except (errors.LedgerError, ValueError, RecursionError) as error:
            _log.warning(
                "the defaults of VF %s cannot be read from %s (%s): the baseline applies until"
                " `sriovctl provision --apply` writes them again", pci, self._files.file(pci), error,
            )  # fmt: skip
            return None
        counts = vf_files.of_this_device(tree, pci, found)
        return counts.declared if counts is not None else settings.UNNAMED

    def declare(self, tree: sysfs.Tree, pci: devices.PciAddress, declared: settings.Switches) -> None:
        """Set the VF's defaults from now on. If none is declared, its file is removed."""
        if declared == settings.UNNAMED:
            self._files.remove(pci)
            return
        self.create()  # at boot no daemon has made the folder yet
        self._files.write(pci, _Written(tree.birth(pci), declared))
