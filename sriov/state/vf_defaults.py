"""Per-VF defaults from the provisioning file: they replace the baseline for settings that a network does not name.

They are never taken from the VF itself, which may still be as a lost owner left it. Only `sriovctl provision` writes
them, and the CNI daemon reads them at each ADD and DEL: one small file for each VF in the run directory, apart from the
daemon's own file of that VF (homes), so that neither overwrites the other's. New VFs that sriov_numvfs makes are other
devices, with no defaults. A daemon of another version ignores keys that it does not know, and takes missing ones as not
declared.
"""

import logging
import pathlib

import msgspec

from sriov import devices, errors, settings
from sriov.hardware import sysfs
from sriov.state import run_files

_log = logging.getLogger(__name__)


class _Written(msgspec.Struct, frozen=True):
    """`device` distinguishes a PCI device from another that gets its address later: sysfs.Tree.birth."""

    device: int
    declared: settings.Switches


_WRITTEN = msgspec.json.Decoder(_Written)


class Defaults:
    """The files below `folder`. Raises LedgerError if the directory cannot be used."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def create(self) -> None:
        run_files.make_folder(self._folder)

    def of(self, tree: sysfs.Tree, pci: devices.PciAddress) -> settings.Switches:
        """Return the VF's defaults. A file that cannot be read declares nothing, and is logged."""
        return self.written(tree, pci) or settings.UNNAMED

    def written(self, tree: sysfs.Tree, pci: devices.PciAddress) -> settings.Switches | None:
        """Return the VF's defaults; None if its file cannot be read."""
        path = self._path(pci)
        try:
            data = run_files.read(path)
            found = _WRITTEN.decode(data) if data is not None else None
        except (errors.LedgerError, ValueError, RecursionError) as error:
            _log.warning(
                "the defaults of VF %s cannot be read from %s (%s): the baseline applies until"
                " `sriovctl provision --apply` writes them again", pci, path, error,
            )  # fmt: skip
            return None
        return found.declared if found is not None and found.device == tree.birth(pci) else settings.UNNAMED

    def declare(self, tree: sysfs.Tree, pci: devices.PciAddress, declared: settings.Switches) -> None:
        """Set the VF's defaults from now on. If none is declared, its file is removed."""
        path = self._path(pci)
        if declared != settings.UNNAMED:
            self.create()  # at boot no daemon has made the folder yet
            run_files.write(path, msgspec.json.encode(_Written(tree.birth(pci), declared)))
            return
        with run_files.refusals(path):
            path.unlink(missing_ok=True)

    def _path(self, pci: devices.PciAddress) -> pathlib.Path:
        return self._folder / f"{pci}.json"
