"""One session of pytest whose events go into a file: session.py EVENTS [arguments of pytest].

A script, and no module: PYTHONPATH would reach every program that the tests start.
"""

import pathlib
import sys
from collections.abc import Sequence

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def main(file: str, arguments: Sequence[str]) -> int:
    sys.path.insert(0, str(ROOT))
    from hack.suite import events  # noqa: PLC0415 (it is found only now)

    return pytest.main([*arguments], plugins=[events.Events(pathlib.Path(file))])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
