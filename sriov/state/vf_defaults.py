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
from sriov.state import run_files

_log = logging.getLogger(__name__)


class _Written(msgspec.Struct, frozen=True):
    """`device` tells a PCI device from another that comes to have its address: sysfs.Tree.birth."""

    device: int
    declared: settings.Switches


_WRITTEN = msgspec.json.Decoder(_Written)


class Defaults:
    """The files below `folder`. Raises LedgerError where the directory cannot be used."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def create(self) -> None:
        run_files.make_folder(self._folder)

    def of(self, tree: sysfs.Tree, pci: devices.PciAddress) -> settings.Switches:
        """What counts for the VF. A file that cannot be read declares nothing, and the log says so."""
        return self.written(tree, pci) or settings.UNNAMED

    def written(self, tree: sysfs.Tree, pci: devices.PciAddress) -> settings.Switches | None:
        """The same, but None for a file that cannot be read."""
        path = self._path(pci)
        try:
            data = run_files.read(path)
            found = _WRITTEN.decode(data) if data is not None else None
        except (errors.LedgerError, ValueError, RecursionError) as error:
            _log.warning(
                "what is declared of VF %s cannot be read from %s (%s): it counts as at the baseline until"
                " `sriovctl provision --apply` writes it again", pci, path, error,
            )  # fmt: skip
            return None
        return found.declared if found is not None and found.device == tree.birth(pci) else settings.UNNAMED

    def declare(self, tree: sysfs.Tree, pci: devices.PciAddress, declared: settings.Switches) -> None:
        """From now on. Nothing that is declared is no file."""
        path = self._path(pci)
        if declared != settings.UNNAMED:
            self.create()  # at a boot no daemon has been there yet
            run_files.write(path, msgspec.json.encode(_Written(tree.birth(pci), declared)))
            return
        with run_files.refusals(path):
            path.unlink(missing_ok=True)

    def _path(self, pci: devices.PciAddress) -> pathlib.Path:
        return self._folder / f"{pci}.json"
