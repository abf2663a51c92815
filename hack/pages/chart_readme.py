"""The chart's README.md: every value with its default and meaning, from values.yaml and its comments.

A group is a row for each of its keys if these have comments, else one row. A value that neither its comment nor its
group's explains is an error.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

_KEY = re.compile(r"^( *)([\w.-]+):")
_COMMENT = re.compile(r"^ *# ?(.*)$")
_INTRO = """\
<!-- Made by hack/gen-docs of Chart.yaml and values.yaml. Change these, and run it again. -->

# {name}

{description}.

```console
$ helm upgrade --install {name} deploy/chart/{name} --namespace kube-system --values my-values.yaml
$ helm test {name} --namespace kube-system
$ helm uninstall {name} --namespace kube-system
```

`docs/install.md` of the project explains what a cluster needs, a configuration in stages, and the removal.
Kubernetes {versions}.

## Values

An unknown or impossible value is refused by name: Helm checks `config` and `policy` as the programs do.

"""


def page(chart: str, values: str) -> str:
    """Raises ValueError for a value that no comment explains."""
    about = yaml.safe_load(chart)
    intro = _INTRO.format(name=about["name"], description=about["description"], versions=about["kubeVersion"])
    rows = ["| value | default | meaning |", "|---|---|---|", *_rows(yaml.safe_load(values), comments(values))]
    return intro + "\n".join(rows) + "\n"


def comments(values: str) -> dict[tuple[str, ...], str]:
    """Return the comment right above each key that has one, by the key's way."""
    found: dict[tuple[str, ...], str] = {}
    way: list[str] = []
    pending: list[str] = []
    for line in values.splitlines():
        if comment := _COMMENT.match(line):
            pending.append(comment[1])
            continue
        if key := _KEY.match(line):
            way[len(key[1]) // 2 :] = [key[2]]
            if pending:
                found[tuple(way)] = " ".join(pending)
        pending = []
    return found


def _rows(values: Any, told: dict[tuple[str, ...], str], above: tuple[str, ...] = ()) -> Iterator[str]:
    for key, value in values.items():
        way = (*above, key)
        inside = any(other[:-1] == way for other in told)
        meaning = told.get(way, "")
        if not meaning and not inside and not told.get(above):
            raise ValueError(f"values.yaml: {'.'.join(way)} has no comment")
        if meaning or not inside:
            yield _row(way, "" if inside else f"`{json.dumps(value)}`", meaning)
        if inside:
            yield from _rows(value, told, way)


def _row(way: tuple[str, ...], default: str, meaning: str) -> str:
    cells = [f"`{'.'.join(way)}`", default, meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
