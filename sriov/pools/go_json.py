"""JSON as Go's encoding/json reads it, since config.json was designed for that.

Keys match in any case, unknown keys are ignored, null is the zero value, the last of two equal keys wins, a wrong
type is an error (pkg.go.dev/encoding/json, Unmarshal). Unlike Go the reader continues after an error, so that all are
reported at once, and it remembers what it ignored.
"""

import json
import re
from collections.abc import Collection
from typing import TypeVar

import msgspec

_AT = re.compile(r" - at `\$(.*)`$")

S = TypeVar("S", bound=msgspec.Struct)


class Problem(msgspec.Struct, frozen=True):
    """A value that cannot be used. `path` is its place in the document, as in `resourceList[0].selectors.vendors`."""

    path: str
    value: object
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path or 'the document'} is {shown(self.value)}: {self.message}; {self.remedy}"


def shown(value: object) -> str:
    """Return the value as JSON, shortened if it is long."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def document(data: bytes) -> object:
    """Decode one JSON document.

    Raises ValueError if it is no JSON.
    """
    try:
        return msgspec.json.decode(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


class Reader:
    """Reads structs from a document, and collects wrong values (`problems`) and ignored ones (`warnings`)."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def refuse(self, path: str, value: object, message: str, remedy: str) -> None:
        self.problems.append(Problem(path, value, message, remedy))

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def struct(self, kind: type[S], value: object, path: str, elsewhere: Collection[str] = ()) -> S:
        """Read an object into a struct whose fields all have defaults; a field that is wrong keeps its default.

        `elsewhere` are keys, in lower case, that the caller reads.
        """
        known = {field.encode_name.lower(): field for field in msgspec.structs.fields(kind)}
        good: dict[str, object] = {}
        for key, item in self._items(value, path):
            field = known.get(key.lower())
            if field is not None:
                self._field(good, field, item, joined(path, field.encode_name))
            elif key.lower() not in elsewhere:
                self.warn(f"{joined(path, key)} is not a known key, it is ignored")
        return kind(**good)

    def _items(self, value: object, path: str) -> list[tuple[str, object]]:
        if value is None:
            return []
        if isinstance(value, dict):
            return list(value.items())
        self.refuse(path, value, "it must be an object", "write { } around keys and values")
        return []

    def _field(self, good: dict[str, object], field: msgspec.structs.FieldInfo, item: object, path: str) -> None:
        good.pop(field.name, None)
        if item is None:
            return
        try:
            good[field.name] = msgspec.convert(item, field.type)
        except msgspec.ValidationError as error:
            message, inner = _located(str(error))
            self.refuse(path + inner, _descend(item, inner), message, "see the documentation of config.json")


def joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _located(text: str) -> tuple[str, str]:
    """Split a msgspec error into message and place: "Expected `str`, got `int` - at `$[1]`"."""
    found = _AT.search(text)
    message = _AT.sub("", text).replace(" | null", "")
    return message[:1].lower() + message[1:], found[1] if found else ""


def _descend(value: object, path: str) -> object:
    for index in re.findall(r"\[(\d+)\]", path):
        if isinstance(value, list):
            value = value[int(index)]
    return value
