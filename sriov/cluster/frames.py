"""Frames between the agent and the daemon: changes of the Services' table, each behind its length. Pure.

The first frame of a connection is the whole table. What is refused here changes nothing: the sender is wrong, or is not
the agent.
"""

import struct

import msgspec

from sriov import errors
from sriov.cluster import services

MOST_BYTES = 8 << 20
"""Of a frame: a table of 10,000 Services with ten backends each takes 2 MB."""
MOST_SERVICES = 1 << 16
MOST_BACKENDS = 1 << 17
"""Of a whole table: what the daemon holds, and half of what the kernel has room for, where a change is there twice."""

HEAD = struct.Struct("!I")

_CHANGE = msgspec.msgpack.Decoder(services.TableChange)
_encode = msgspec.msgpack.Encoder().encode


def encoded(change: services.TableChange) -> bytes:
    """Return the frame. Raises SriovError for one that no daemon takes."""
    body = _encode(change)
    if len(body) > MOST_BYTES:
        raise errors.SriovError(
            f"Service table: {len(body)} bytes, where {MOST_BYTES} are taken", "have fewer Services"
        )
    return HEAD.pack(len(body)) + body


def length(head: bytes) -> int:
    """Return how many bytes follow. Raises SriovError."""
    size: int = HEAD.unpack(head)[0]
    if not 0 < size <= MOST_BYTES:
        raise _wrong(f"a frame of {size} bytes, where 1 to {MOST_BYTES} are taken")
    return size


def decoded(body: bytes) -> services.TableChange:
    """Return a change that no part of is impossible. Raises SriovError."""
    try:
        change = _CHANGE.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _wrong(f"a frame that is no change of Services: {error}") from error
    services.check(change)
    return change


def fitting(table: services.Table) -> None:
    """Raises SriovError if the table is larger than a node takes."""
    backends = sum(len(service.backends) for service in table.values())
    if len(table) > MOST_SERVICES or backends > MOST_BACKENDS:
        raise errors.SriovError(
            f"Service table: {len(table)} frontends with {backends} backends are too many",
            f"a node takes {MOST_SERVICES} frontends and {MOST_BACKENDS} backends",
        )


def _wrong(why: str) -> errors.SriovError:
    return errors.SriovError(f"Service table: {why}", "is the sender an agent of another release?")
