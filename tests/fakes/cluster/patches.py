"""Patches of the stand-in cluster: JSON patches that replace and remove, and merge patches.

A strategic merge of lists depends on tags of Go fields, so one with lists is not supported: `kubectl apply` of an
object that already differs is refused.
"""

import copy
from collections.abc import Callable
from typing import Any

from tests.fakes.cluster.kinds import Object, RefusedError

Change = Callable[[Object], Object]


def merging(patch: Object) -> Change:
    """Return a merge patch (RFC 7396)."""
    return lambda found: _merged(found, patch)


def has_list(patch: Object) -> bool:
    return any(isinstance(each, list) or (isinstance(each, dict) and has_list(each)) for each in patch.values())


def replacing(operations: list[Object]) -> Change:
    """Return a JSON patch (RFC 6902) that has only `replace`, `remove` and `test` operations."""

    def change(found: Object) -> Object:
        for each in operations:
            if each["op"] not in ("replace", "remove", "test"):
                raise RefusedError(422, "Invalid", f"{each['op']} is not known here")
            way = each["path"].split("/")[1:]
            try:
                changed = _removed(found, way) if each["op"] == "remove" else _replaced(found, way, each["value"])
            except (KeyError, IndexError, ValueError) as error:
                raise RefusedError(422, "Invalid", f"there is no {each['path']}") from error
            if each["op"] == "test" and changed != found:
                raise RefusedError(422, "Invalid", f"{each['path']} is another: test failed")
            found = changed
        return found

    return change


def _replaced(found: Any, way: list[str], value: object) -> Any:
    if not way:
        return value
    key = int(way[0]) if isinstance(found, list) else way[0]
    made = copy.copy(found)
    made[key] = _replaced(found[key], way[1:], value)
    return made


def _removed(found: Any, way: list[str]) -> Any:
    key = int(way[0]) if isinstance(found, list) else way[0]
    made = copy.copy(found)
    if way[1:]:
        made[key] = _removed(found[key], way[1:])
    else:
        del made[key]
    return made


def _merged(found: Object, patch: Object) -> Object:
    made = dict(found)
    for key, value in patch.items():
        made[key] = _merged(found.get(key, {}), value) if isinstance(value, dict) else value
        if value is None:
            del made[key]
    return made
