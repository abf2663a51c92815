"""Changes of objects that the stand-in cluster is asked for: JSON patches that replace, and its own merges.

A strategic merge goes by tags of Go fields where there are lists, so one with lists is not known: `kubectl apply` of an
object that is another one already is refused.
"""

import copy
from collections.abc import Callable
from typing import Any

from tests.fakes.cluster.kinds import Object, RefusedError

Change = Callable[[Object], Object]


def merging(patch: Object) -> Change:
    """RFC 7396."""
    return lambda found: _merged(found, patch)


def has_list(patch: Object) -> bool:
    return any(isinstance(each, list) or (isinstance(each, dict) and has_list(each)) for each in patch.values())


def replacing(operations: list[Object]) -> Change:
    """RFC 6902, of which `replace` is all."""

    def change(found: Object) -> Object:
        for each in operations:
            if each["op"] != "replace":
                raise RefusedError(422, "Invalid", f"{each['op']} is not known here")
            try:
                found = _replaced(found, each["path"].split("/")[1:], each["value"])
            except (KeyError, IndexError, ValueError) as error:
                raise RefusedError(422, "Invalid", f"there is no {each['path']}") from error
        return found

    return change


def _replaced(found: Any, way: list[str], value: object) -> Any:
    if not way:
        return value
    key = int(way[0]) if isinstance(found, list) else way[0]
    made = copy.copy(found)
    made[key] = _replaced(found[key], way[1:], value)
    return made


def _merged(found: Object, patch: Object) -> Object:
    made = dict(found)
    for key, value in patch.items():
        made[key] = _merged(found.get(key, {}), value) if isinstance(value, dict) else value
        if value is None:
            del made[key]
    return made
