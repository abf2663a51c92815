"""Generator of pages and pictures from the code; with --check it reports which are out of date.

People start it through hack/gen-docs. It changes no page that a person has written, and fetches nothing.
"""

import argparse
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from hack.pages import drawings, reference, terminals

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
DEMO = "images/demo.svg"


def made() -> dict[str, str]:
    """Return, by name below docs/, all files that are made of the code alone, the same on every machine."""
    return {
        "configuration.md": reference.page(DOCS),
        "images/inventory.svg": terminals.inventory((DOCS / "sriovctl.md").read_text()),
        **{f"images/{name}.svg": picture for name, picture in drawings.all_of_them().items()},
    }


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="hack/gen-docs", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing, end with 1 where something is out of date"
    )
    parser.add_argument("--demo", action="store_true", help="run hack/demo --mock and draw what it prints; needs root")
    options = parser.parse_args(argv)
    old = {name: text for name, text in made().items() if not _is(DOCS / name, text)}
    if options.check:
        for name in old:
            print(f"gen-docs: docs/{name} is out of date; run hack/gen-docs", file=sys.stderr)
        return 1 if old else 0
    for name, text in old.items():
        (DOCS / name).write_text(text)
    if options.demo:
        command = [str(ROOT / "hack/demo"), "--mock", "--record", str(DOCS / DEMO)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return 0


def _is(path: pathlib.Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
