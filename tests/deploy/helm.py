"""`helm template` where there is no helm: Helm's own library, in a process of its own. Prints JSON, text by template.

Once loaded, a Go runtime has threads and takes signals, which the process of the tests must not have. The flags are
those of helm that docs/install.md has; `install` and `upgrade` render what they would send to a cluster, `uninstall`
nothing.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import helm_python

Values = dict[str, Any]


def main() -> int:
    given = _parser().parse_args()
    try:
        rendered = {} if given.command == "uninstall" else _rendered(given)
    except helm_python.HelmError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(rendered))
    return 0


def _rendered(given: argparse.Namespace) -> dict[str, str]:
    values: Values = {}
    for path in given.values:
        text = sys.stdin.read() if path == "-" else pathlib.Path(path).read_text()
        values = merged(values, helm_python.values_from_yaml(text))
    for expression in given.set:
        values = merged(values, helm_python.parse_set_string(expression))
    with helm_python.Chart.load(given.chart) as chart:
        rendered: dict[str, str] = chart.render(values, name=given.release, namespace=given.namespace)
    return rendered


def merged(first: Values, second: Values) -> Values:
    """Helm's way: objects are merged, anything else is replaced."""
    both = {key: merged(first[key], second[key]) for key in first if _are_objects(first[key], second.get(key))}
    return {**first, **second, **both}


def _are_objects(first: object, second: object) -> bool:
    return isinstance(first, dict) and isinstance(second, dict)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("helm", allow_abbrev=False)
    made.add_argument("command", choices=("template", "install", "upgrade", "uninstall"))
    made.add_argument("release")
    made.add_argument("chart", nargs="?")
    made.add_argument("--namespace", default="default")
    made.add_argument("--values", action="append", default=[])
    made.add_argument("--set", action="append", default=[])
    made.add_argument("--install", action="store_true")
    return made


if __name__ == "__main__":
    sys.exit(main())
