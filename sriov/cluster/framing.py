"""Frames of one kind of changes, from the agent to the daemon: each behind its length. Pure.

The first frame of a connection is the whole table. What is refused here changes nothing: the sender is wrong, or is not
the agent.
"""

import struct
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from sriov import errors

HEAD = struct.Struct("!I")

_encode = msgspec.msgpack.Encoder().encode


class AnyChange(Protocol):
    """With `whole`, what it does not name is gone."""

    @property
    def whole(self) -> bool: ...


ChangeT = TypeVar("ChangeT", bound=AnyChange)


class FrameFormat(Generic[ChangeT]):
    """`name` is what a table is of, as messages have it. `check` raises SriovError for what no cluster has. `nothing`
    is a change that changes nothing."""

    def __init__(
        self,
        name: str,
        nothing: ChangeT,
        decoder: msgspec.msgpack.Decoder[ChangeT],
        check: Callable[[ChangeT], None],
        most: int,
    ) -> None:
        self.name, self.nothing, self.most = name, nothing, most
        self._decoder, self._check = decoder, check

    def encoded(self, change: ChangeT) -> bytes:
        """Return the frame. Raises SriovError for one that no daemon takes."""
        body = _encode(change)
        if len(body) > self.most:
            raise errors.SriovError(
                f"table of {self.name}: {len(body)} bytes, where {self.most} are taken", f"have fewer {self.name}"
            )
        return HEAD.pack(len(body)) + body

    def length(self, head: bytes) -> int:
        """Return how many bytes follow. Raises SriovError."""
        size: int = HEAD.unpack(head)[0]
        if not 0 < size <= self.most:
            raise self._wrong(f"a frame of {size} bytes, where 1 to {self.most} are taken")
        return size

    def decoded(self, body: bytes) -> ChangeT:
        """Return a change that no part of is impossible. Raises SriovError."""
        try:
            change = self._decoder.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._wrong(f"a frame that is no change of {self.name}: {error}") from error
        self._check(change)
        return change

    def _wrong(self, why: str) -> errors.SriovError:
        return errors.SriovError(f"table of {self.name}: {why}", "is the sender an agent of another release?")
