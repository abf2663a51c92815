"""Secrets in Kubernetes' protobuf: Helm stores its releases in them, and sends them in no other encoding.

Field numbers are those of generated.proto: of Unknown in k8s.io/apimachinery/pkg/runtime, of ObjectMeta in
k8s.io/apimachinery/pkg/apis/meta/v1, of Secret in k8s.io/api/core/v1. Fields that Helm does not fill are left out.
"""

import base64
from collections.abc import Iterator

from tests.fakes.cluster.kinds import Object, RefusedError

_MAGIC = b"k8s\x00"
_VARINT, _BYTES = 0, 2


def secret(body: bytes) -> Object:
    """Return the Secret as its JSON. Raises RefusedError."""
    sent = _one(body.removeprefix(_MAGIC))
    about = _one(sent[1])
    if not body.startswith(_MAGIC) or about.get(2) != b"Secret":
        raise RefusedError(415, "UnsupportedMediaType", "only Secrets are read in protobuf")
    fields = list(_fields(sent[2]))
    metadata = next(value for number, value in fields if number == 1)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": _one(metadata)[1].decode(),
            "labels": {key: value.decode() for key, value in _map(_fields(metadata), 11)},
        },
        "data": {key: base64.b64encode(value).decode() for key, value in _map(iter(fields), 2)},
        "type": dict(fields)[3].decode(),
    }


def _map(fields: Iterator[tuple[int, bytes]], number: int) -> Iterator[tuple[str, bytes]]:
    for entry in (_one(value) for found, value in fields if found == number):
        yield entry[1].decode(), entry[2]


def _one(message: bytes) -> dict[int, bytes]:
    """Return fields that occur once."""
    return dict(_fields(message))


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields that hold bytes, by number; integers are skipped."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        size, at = _varint(message, at)  # or the integer itself
        if key & 7 == _BYTES:
            yield key >> 3, message[at : at + size]
            at += size
        elif key & 7 != _VARINT:
            raise RefusedError(400, "BadRequest", f"a field of type {key & 7} is not read")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the integer, and the position behind it."""
    value, shift = 0, 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
