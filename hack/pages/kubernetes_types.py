"""Kubernetes' own types in the chart's values, as affinity and tolerations, by the schemas of `kubernetes-validate`.

Those of its newest version, strict: an unknown key is refused. Texts and Kubernetes' own marks are left out.
"""

import importlib.util
import json
import pathlib
import re
from typing import Any

_REFERENCE = re.compile(r'"#/\$defs/(io\.k8s\.[\w.]+)"')


def named_in(text: str) -> dict[str, Any]:
    """Return the types that a schema refers to, by name, and those that these refer to."""
    known, found = _known(), {}
    wanted = _REFERENCE.findall(text)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = _bare(known[name])
            wanted += _REFERENCE.findall(json.dumps(found[name]))
    return dict(sorted(found.items()))


def _known() -> dict[str, Any]:
    package = importlib.util.find_spec("kubernetes_validate")  # its import takes two seconds
    assert package is not None and package.origin is not None
    folders = pathlib.Path(package.origin).parent.glob("kubernetes-json-schema/*-local-strict")
    newest = max(folders, key=lambda each: [int(number) for number in re.findall(r"\d+", each.name)])
    known: dict[str, Any] = json.loads((newest / "_definitions.json").read_text())["$defs"]
    return known


def _bare(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bare(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _bare(value) for key, value in schema.items() if not _is_told(key, value)}


def _is_told(key: str, value: object) -> bool:
    return (key in ("description", "format") and isinstance(value, str)) or key.startswith("x-kubernetes-")
