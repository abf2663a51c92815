"""Small files of the run directory, one for each VF, that say which PCI device they are about.

The VFs that sriov_numvfs makes are other devices than those that had their addresses before: what is written of the
former does not count for them. The number that tells them apart is the device's birth (sysfs.Tree.birth).
"""

import pathlib
from typing import Generic, TypeVar

import msgspec

from sriov import devices
from sriov.hardware import sysfs
from sriov.state import run_files


class Born(msgspec.Struct, frozen=True):
    """What a file holds begins with its VF's birth. Derived types add to it."""

    device: int


_T = TypeVar("_T", bound=Born)


class Folder(Generic[_T]):
    """The files below `path`. Raises LedgerError where the directory cannot be used."""

    def __init__(self, path: pathlib.Path, decoder: msgspec.json.Decoder[_T]) -> None:
        self._path = path
        self._decoder = decoder

    def create(self) -> None:
        run_files.make_folder(self._path)

    def file(self, pci: devices.PciAddress) -> pathlib.Path:
        return self._path / f"{pci}.json"

    def last(self, pci: devices.PciAddress) -> _T | None:
        """What is written of the address, of whichever device. Raises MsgspecError, ValueError or RecursionError."""
        data = run_files.read(self.file(pci))
        return self._decoder.decode(data) if data is not None else None

    def write(self, pci: devices.PciAddress, content: _T) -> None:
        run_files.write(self.file(pci), msgspec.json.encode(content))

    def remove(self, pci: devices.PciAddress) -> None:
        """Nothing happens if there is none."""
        path = self.file(pci)
        with run_files.refusals(path):
            path.unlink(missing_ok=True)


def of_this_device(tree: sysfs.Tree, pci: devices.PciAddress, written: _T | None) -> _T | None:
    """What is written, if it is about the device that has the address now."""
    return written if written is not None and written.device == tree.birth(pci) else None
