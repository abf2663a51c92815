"""Who holds which VF, and what was there before: one small file a VF in the run directory.

Written before the first change to a VF and removed after the last, so that whoever comes next, also after a crash,
knows what to restore. On tmpfs: a reboot resets every VF, so it may forget too, and nothing is fsynced; a rename makes
each record whole against a crash of the process. Any process may read it; only the CNI daemon writes.
"""

import contextlib
import logging
import os
import pathlib
from collections.abc import Iterator

import msgspec

from sriov import devices, errors, kernel, settings

_log = logging.getLogger(__name__)


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """An attachment: the runtime's name for it. `netns` is the path as the runtime passed it."""

    container_id: str
    ifname: str
    network: str
    netns: str


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """The VF's netdev as it was in the host. `mtu` in bytes."""

    name: str
    address: str
    mtu: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One VF in use. `netns` is device and inode of the namespace, the same for every handle of it.

    `home` is None for a VF without a netdev, which does not move. `rdma` are the RDMA devices that go with it, as they
    were in the host; records of older versions have none.
    """

    version: int = 1
    pci: devices.PciAddress
    owner: Owner
    netns: tuple[int, int]
    home: Home | None
    wanted: settings.VfSettings
    mtu: int
    rdma: tuple[kernel.RdmaDevice, ...] = ()

    def belongs_to(self, container_id: str, ifname: str) -> bool:
        return (self.owner.container_id, self.owner.ifname) == (container_id, ifname)


class Ledger:
    """The records below `run_dir`. Raises LedgerError where the directory cannot be used."""

    def __init__(self, run_dir: pathlib.Path) -> None:
        self._folder = run_dir / "vfs"

    def create(self) -> None:
        """Make the directory, for its owner alone. Call once, from the process that writes."""
        for folder in (self._folder.parent, self._folder):
            with _io(folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                found = folder.stat()
            if found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise errors.LedgerError(
                    f"others than its owner can change {folder}", f"make it uid {os.geteuid()}'s, mode 0700"
                )

    def try_out(self) -> None:
        """Raises LedgerError where no record could be written."""
        path = self._folder / ".try"
        with _io(path):
            path.write_bytes(b"")
            path.unlink()

    def read(self, pci: devices.PciAddress) -> Record | None:
        return self._load(self._path(pci))

    def write(self, record: Record) -> None:
        path = self._path(record.pci)
        draft = path.with_suffix(".tmp")
        with _io(path):
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with open(fd, "wb") as file:
                file.write(msgspec.json.encode(record))
            draft.rename(path)

    def remove(self, pci: devices.PciAddress) -> None:
        """Forget the VF; nothing happens where there is no record."""
        with _io(self._path(pci)):
            self._path(pci).unlink(missing_ok=True)

    def records(self) -> Iterator[Record]:
        with _io(self._folder):
            paths = sorted(self._folder.glob("*.json")) if self._folder.exists() else []
        yield from filter(None, map(self._load, paths))

    def find(self, container_id: str, ifname: str) -> Record | None:
        """The VF of an attachment, for a DEL whose configuration does not say which."""
        return next((record for record in self.records() if record.belongs_to(container_id, ifname)), None)

    def _path(self, pci: devices.PciAddress) -> pathlib.Path:
        return self._folder / f"{pci}.json"

    def _load(self, path: pathlib.Path) -> Record | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            # A damaged record must not block the VF for ever: the next ADD states the whole VF anyway.
            _log.warning("ledger record %s is damaged (%s), kept as %s.damaged", path, error, path.name)
            with _io(path):
                path.rename(path.with_name(f"{path.name}.damaged"))
            return None
        except OSError as error:
            raise errors.LedgerError(f"cannot read {path}: {error.strerror}", "is the run directory root's?") from error


@contextlib.contextmanager
def _io(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "free space there, or give another --run-dir"
        raise errors.LedgerError(f"cannot use the ledger {path}: {error.strerror}", remedy) from error
