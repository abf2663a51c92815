"""pyroute2's messages as bytes and back, for a socket of ours. Pure; part of the door that netlink.py is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sriov import nlsocket

Fields = Mapping[str, int]
Attributes = Sequence[tuple[str, Any]]


def body(shape: Any, fields: Fields | None = None, attributes: Attributes = ()) -> bytes:
    """A request of this shape, without its header."""
    request = shape()
    request.update(fields or {})
    request["attrs"] = [list(each) for each in attributes]
    request.encode()
    return bytes(request.data[nlsocket.HEADER.size :])


def read(shape: Any, answers: Iterable[bytes]) -> list[Any]:
    """Answers as messages of this shape."""
    messages = [shape(data) for data in answers]
    for message in messages:
        message.decode()
    return messages
