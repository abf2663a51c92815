"""What the provisioning file declares of a VF that nobody configures otherwise: it counts in the place of the baseline.

Never what is found on a VF, which may be what a lost owner left behind. `sriovctl provision` alone writes it and the
CNI daemon reads it at each ADD and DEL: one small file a VF in the run directory, and not the daemon's own of that VF
(homes), so that neither writes over the other's. VFs that sriov_numvfs makes anew are other devices, of which nothing
is declared. A daemon of another version passes over what it does not know, and what it misses is not declared.
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
    """The files below `folder`. Raises LedgerError where the directory cannot be used."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._files = vf_files.Folder(folder, _WRITTEN)

    def create(self) -> None:
        self._files.create()

    def of(self, tree: sysfs.Tree, pci: devices.PciAddress) -> settings.Switches:
        """What counts for the VF. A file that cannot be read declares nothing, and the log says so."""
        return self.written(tree, pci) or settings.UNNAMED

    def written(self, tree: sysfs.Tree, pci: devices.PciAddress) -> settings.Switches | None:
        """The same, but None for a file that cannot be read."""
        try:
            found = self._files.last(pci)
        except (errors.LedgerError, ValueError, RecursionError) as error:
            _log.warning(
                "what is declared of VF %s cannot be read from %s (%s): it counts as at the baseline until"
                " `sriovctl provision --apply` writes it again", pci, self._files.file(pci), error,
            )  # fmt: skip
            return None
        counts = vf_files.of_this_device(tree, pci, found)
        return counts.declared if counts is not None else settings.UNNAMED

    def declare(self, tree: sysfs.Tree, pci: devices.PciAddress, declared: settings.Switches) -> None:
        """From now on. Nothing that is declared is no file."""
        if declared == settings.UNNAMED:
            self._files.remove(pci)
            return
        self.create()  # at a boot no daemon has been there yet
        self._files.write(pci, _Written(tree.birth(pci), declared))
