"""pyroute2's messages on a socket of ours: encoded, sent, the answers decoded. Part of the door that netlink.py is."""

from collections.abc import Mapping, Sequence
from typing import Any

from sriov import nlsocket

Fields = Mapping[str, int]
Attributes = Sequence[tuple[str, Any]]


def ask(
    sock: nlsocket.Socket,
    shape: Any,
    kind: int,
    flags: int,
    *,
    fields: Fields | None = None,
    attributes: Attributes = (),
) -> list[Any]:
    """One request of this kind, and what the kernel answers; both are of this shape. Raises OSError."""
    request = shape()
    request.update(fields or {})
    request["attrs"] = [list(each) for each in attributes]
    request.encode()
    body = bytes(request.data[nlsocket.HEADER.size :])
    return [_decoded(shape, data) for data in sock.ask(kind, flags, body)]


def _decoded(shape: Any, data: bytes) -> Any:
    message = shape(data)
    message.decode()
    return message
