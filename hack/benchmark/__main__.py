"""`hack/bench PART`: runs one part's measurements, prints them beside their targets, and writes them as JSON.

Figures are this machine's, at this moment; the targets are for an idle machine of two CPUs.
"""

import argparse
import json
import pathlib
import sys

from hack.benchmark import deviceplugin, figures

_PARTS = {"deviceplugin": deviceplugin.measure}


def main() -> int:
    parser = argparse.ArgumentParser("hack/bench", description=__doc__)
    parser.add_argument("part", choices=_PARTS)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    flags = parser.parse_args()
    taken = _PARTS[flags.part]()
    for line in figures.table(taken):
        print(line)
    if flags.json is not None:
        flags.json.write_text(json.dumps({one.key: one.value for one in taken}, indent=1) + "\n")
    return 1 if flags.check and any(one.missed for one in taken) else 0


if __name__ == "__main__":
    sys.exit(main())
