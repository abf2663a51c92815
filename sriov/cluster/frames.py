"""Frames of the Services' table, and how large it may be. Pure."""

import msgspec

from sriov import errors
from sriov.cluster import framing, services

HEAD = framing.HEAD
MOST_BYTES = 8 << 20
"""Of a frame: a table of 10,000 Services with ten backends each takes 2 MB."""
MOST_SERVICES = 1 << 16
MOST_BACKENDS = 1 << 17
"""Of a whole table: what the daemon holds, and half of what the kernel has room for, where a change is there twice."""

_CHANGE = msgspec.msgpack.Decoder(services.TableChange)
FORMAT = framing.FrameFormat("Services", services.TableChange(), _CHANGE, services.check, MOST_BYTES)
encoded, length, decoded = FORMAT.encoded, FORMAT.length, FORMAT.decoded


def fitting(table: services.Table) -> None:
    """Raises SriovError if the table is larger than a node takes."""
    backends = sum(len(service.backends) for service in table.values())
    if len(table) > MOST_SERVICES or backends > MOST_BACKENDS:
        raise errors.SriovError(
            f"table of Services: {len(table)} frontends with {backends} backends are too many",
            f"a node takes {MOST_SERVICES} frontends and {MOST_BACKENDS} backends",
        )
