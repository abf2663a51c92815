"""Snapshot of the Services' table on disk: what a daemon starts with, after a reboot too, until the agent comes."""

import logging
import pathlib
import struct
import zlib

import msgspec

from sriov import errors, files
from sriov.cluster import frames, services

_log = logging.getLogger(__name__)

_MARK = b"sriov-underlay services 1\n"
_SUM = struct.Struct("!I")  # CRC-32 of the rest: a damaged digit would be another address


class Snapshot:
    """The file. Only its owner may read it, and it is whole or not there, also after a loss of power."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def read(self) -> services.TableChange | None:
        """Return the whole table; None if there is none, or none that can be used, which is logged."""
        try:
            with files.opened(self._path) as file:
                return _table(file.read(len(_MARK) + _SUM.size + frames.MOST_BYTES + 1))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(error.strerror or str(error))
        except errors.SriovError as error:
            self._complain(error.message)
        return None

    def write(self, change: services.TableChange) -> None:
        """Replace the file. Raises SriovError."""
        body = frames.encoded(change)[frames.HEAD.size :]
        draft = self._path.with_name(f".{self._path.name}.draft")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write(self._path, _MARK + _SUM.pack(zlib.crc32(body)) + body, draft=draft, durable=True)
        except OSError as error:
            raise errors.SriovError(
                f"cannot write the snapshot of Services {self._path}: {error.strerror}",
                "free space there, or give another --cluster-snapshot",
            ) from error

    def forget(self) -> None:
        """Remove the file, if there is one. Raises SriovError."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise errors.SriovError(
                f"cannot remove the snapshot of Services {self._path}: {error.strerror}", f"as root: rm {self._path}"
            ) from error

    def _complain(self, why: str) -> None:
        _log.error("snapshot of Services %s cannot be used: %s; there are no Services until the agent sends them",
                   self._path, why)  # fmt: skip


def _table(content: bytes) -> services.TableChange:
    """Raises SriovError."""
    head = len(_MARK) + _SUM.size
    body = content[head:]
    if (
        not content.startswith(_MARK)
        or len(content) < head
        or _SUM.unpack(content[len(_MARK) : head])[0] != zlib.crc32(body)
    ):
        raise errors.SriovError("it is damaged, or another release's")
    change = frames.decoded(body)
    frames.fitting({service.frontend: service for service in change.services})
    return msgspec.structs.replace(change, whole=True)
