"""`helm` where there is no helm: Helm's own library, in a process of its own, with those flags that the pages have.

JSON is printed by `template`, text by template; by `lint`, what it finds; by `judge`, of each of a list of values,
what the schema says. `upgrade` and `uninstall` go to the cluster of KUBECONFIG, as helm's do, and
print the release's state and notes. Once loaded, a Go runtime has threads and takes signals, which the process of the
tests must not have.
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
        print(_COMMANDS[given.command](given))
    except helm_python.HelmError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def _template(given: argparse.Namespace) -> str:
    with helm_python.Chart.load(given.chart) as chart:
        return json.dumps(chart.render(_values(given), name=given.release, namespace=given.namespace))


def _lint(given: argparse.Namespace) -> str:
    return json.dumps(helm_python.lint(given.release, _values(given))["messages"])


def _judge(given: argparse.Namespace) -> str:
    with helm_python.Chart.load(given.release) as chart:
        return json.dumps([_said(chart, values) for values in json.load(sys.stdin)])


def _said(chart: helm_python.Chart, values: Values) -> str:
    try:
        chart.validate_schema(values)
    except helm_python.HelmError as error:
        return str(error)
    return ""


def _upgrade(given: argparse.Namespace) -> str:
    with helm_python.Config(namespace=given.namespace) as cluster:
        act = cluster.install if given.install and not _is_there(cluster, given.release) else cluster.upgrade
        return _told(act(given.chart, given.release, _values(given), namespace=given.namespace))


def _uninstall(given: argparse.Namespace) -> str:
    with helm_python.Config(namespace=given.namespace) as cluster:
        cluster.uninstall(given.release)
    return f'release "{given.release}" uninstalled'


def _test(given: argparse.Namespace) -> str:
    with helm_python.Config(namespace=given.namespace) as cluster:
        cluster.test(given.release, timeout=60)
    return f"TEST SUITE: {given.release}\nPhase: Succeeded"


def _is_there(cluster: helm_python.Config, release: str) -> bool:
    try:
        return bool(cluster.history(release))
    except helm_python.HelmNotFoundError:
        return False


def _told(release: dict[str, Any]) -> str:
    return f"STATUS: {release['status']}\nREVISION: {release['revision']}\nNOTES:\n{release['notes']}"


def _values(given: argparse.Namespace) -> Values:
    values: Values = {}
    for path in given.values:
        text = sys.stdin.read() if path == "-" else pathlib.Path(path).read_text()
        values = merged(values, helm_python.values_from_yaml(text))
    for expression in given.set:
        values = merged(values, helm_python.parse_set_string(expression))
    return values


def merged(first: Values, second: Values) -> Values:
    """Helm's way: objects are merged, anything else is replaced."""
    both = {key: merged(first[key], second[key]) for key in first if _are_objects(first[key], second.get(key))}
    return {**first, **second, **both}


def _are_objects(first: object, second: object) -> bool:
    return isinstance(first, dict) and isinstance(second, dict)


_COMMANDS = {
    "template": _template,
    "lint": _lint,
    "judge": _judge,
    "upgrade": _upgrade,
    "uninstall": _uninstall,
    "test": _test,
}


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("helm", allow_abbrev=False)
    made.add_argument("command", choices=_COMMANDS)
    made.add_argument("release")
    made.add_argument("chart", nargs="?")
    made.add_argument("--namespace", default="default")
    made.add_argument("--values", action="append", default=[])
    made.add_argument("--set", action="append", default=[])
    made.add_argument("--install", action="store_true")
    return made


if __name__ == "__main__":
    sys.exit(main())
