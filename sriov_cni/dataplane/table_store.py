"""Tables that the agent sends, as the daemon has them: that of Services in force, and any on disk.

What is on disk is what a daemon starts with, after a reboot too, until the agent comes.
"""

import logging
import pathlib
import struct
import zlib
from collections.abc import Callable
from typing import Generic

import msgspec

from sriov import errors, files
from sriov.cluster import frames, framing, services
from sriov.cluster.framing import ChangeT

_log = logging.getLogger(__name__)

_SUM = struct.Struct("!I")  # CRC-32 of the rest: a damaged digit would be another address


class TableFile(Generic[ChangeT]):
    """A table on disk. Only its owner may read it, and it is whole or not there, also after a loss of power.

    `option` names the file in a command line; `without` says what holds while there is none that can be used.
    """

    def __init__(self, path: pathlib.Path, format_: framing.FrameFormat[ChangeT], option: str, without: str) -> None:
        self._path, self._frames, self._option, self._without = path, format_, option, without
        self._mark = f"sriov-underlay {format_.name.lower()} 1\n".encode()

    def read(self) -> ChangeT | None:
        """Return the whole table; None if there is none, or none that can be used, which is logged."""
        try:
            return self.loaded()
        except errors.SriovError as error:
            text = "snapshot of %s %s cannot be used: %s; %s"
            _log.error(text, self._frames.name, self._path, error.message, self._without)
        return None

    def loaded(self) -> ChangeT | None:
        """Return the whole table; None if there is no file. Raises SriovError for one that cannot be used."""
        try:
            with files.opened(self._path) as file:
                return self._table(file.read(len(self._mark) + _SUM.size + self._frames.most + 1))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise errors.SriovError(error.strerror or str(error)) from error

    def write(self, change: ChangeT) -> None:
        """Replace the file. Raises SriovError."""
        body = self._frames.encoded(change)[framing.HEAD.size :]
        draft = self._path.with_name(f".{self._path.name}.draft")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write(self._path, self._mark + _SUM.pack(zlib.crc32(body)) + body, draft=draft, durable=True)
        except OSError as error:
            raise errors.SriovError(
                f"cannot write the snapshot of {self._frames.name} {self._path}: {error.strerror}",
                f"free space there, or give another {self._option}",
            ) from error

    def forget(self) -> None:
        """Remove the file, if there is one. Raises SriovError."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise errors.SriovError(
                f"cannot remove the snapshot of {self._frames.name} {self._path}: {error.strerror}",
                f"as root: rm {self._path}",
            ) from error

    def _table(self, content: bytes) -> ChangeT:
        """Raises SriovError."""
        head = len(self._mark) + _SUM.size
        told, body = content[len(self._mark) : head], content[head:]
        if not content.startswith(self._mark) or told != _SUM.pack(zlib.crc32(body)):
            raise errors.SriovError("it is damaged, or another release's")
        change = self._frames.decoded(body)
        if not change.whole:
            raise errors.SriovError("it is no whole table")
        return change


class Snapshot(TableFile[services.TableChange]):
    """The table of Services."""

    def __init__(self, path: pathlib.Path) -> None:
        without = "there are no Services until the agent sends them"
        super().__init__(path, frames.FORMAT, "--cluster-snapshot", without)


Apply = Callable[[services.TableChange], None]
"""Brings a change into force. Called in a thread, one change at a time, the first one whole. Raises SriovError."""


class HeldServices:
    """The table of Services in force. Changes come one at a time, from any thread."""

    def __init__(self, apply: Apply) -> None:
        self._apply = apply
        self._table: dict[services.Frontend, services.Service] | None = None
        self.ranges: tuple[str, ...] = ()

    @property
    def table(self) -> services.Table:
        return self._table or {}

    def take(self, change: services.TableChange) -> None:
        """Raises SriovError, and then the table is as it was."""
        table = services.applied(self.table, change)
        frames.fitting(table)
        ranges = self.ranges if change.ranges is None else change.ranges
        if self._table is None:
            self._apply(change)
        elif (news := _news(self._table, table, change, self.ranges)) != services.TableChange():
            self._apply(news)
        self._table, self.ranges = table, ranges

    def whole(self) -> services.TableChange:
        return services.TableChange(tuple(self.table.values()), whole=True, ranges=self.ranges)


def _news(
    old: services.Table, new: services.Table, change: services.TableChange, ranges: tuple[str, ...]
) -> services.TableChange:
    """Return what of the change the daemon does not have."""
    news = services.difference(old, new) if change.whole else change
    return msgspec.structs.replace(news, ranges=None if change.ranges == ranges else change.ranges)
