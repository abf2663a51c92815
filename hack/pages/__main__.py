"""Generator of pages, pictures and the chart's schema from the code; with --check it reports which are out of date.

People start it through hack/gen-docs. It changes no page that a person has written, and fetches nothing.
"""

import argparse
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from hack.pages import chart_readme, chart_schema, drawings, reference, terminals

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
CHART = ROOT / "deploy/chart/sriov-underlay"
DEMO = "images/demo.svg"


def made() -> dict[str, str]:
    """Return, by name below docs/, all files that are made of the code alone, the same on every machine."""
    return {
        "configuration.md": reference.page(DOCS),
        "images/inventory.svg": terminals.inventory((DOCS / "sriovctl.md").read_text()),
        **{f"images/{name}.svg": picture for name, picture in drawings.all_of_them().items()},
    }


def of_the_chart() -> dict[str, str]:
    """Return, by name below the chart's folder, the files that are made of the code in part or as a whole."""
    schema, about, values = (CHART / name for name in ("values.schema.json", "Chart.yaml", "values.yaml"))
    return {
        schema.name: chart_schema.completed(schema.read_text()),
        "README.md": chart_readme.page(about.read_text(), values.read_text()),
    }


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="hack/gen-docs", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing, end with 1 where something is out of date"
    )
    parser.add_argument("--demo", action="store_true", help="run hack/demo --mock and draw what it prints; needs root")
    options = parser.parse_args(argv)
    files = {folder / name: text for folder, all_of in _folders() for name, text in all_of.items()}
    old = {path: text for path, text in files.items() if not _is(path, text)}
    if options.check:
        for path in old:
            print(f"gen-docs: {path.relative_to(ROOT)} is out of date; run hack/gen-docs", file=sys.stderr)
        return 1 if old else 0
    for path, text in old.items():
        path.write_text(text)
    if options.demo:
        command = [str(ROOT / "hack/demo"), "--mock", "--record", str(DOCS / DEMO)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return 0


def _folders() -> list[tuple[pathlib.Path, dict[str, str]]]:
    return [(DOCS, made()), (CHART, of_the_chart())]


def _is(path: pathlib.Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
