"""`hack/test` without arguments of pytest: runs the lanes, shows them, sums them up.

Exit status: 0 if every lane passed; 1 if a test failed or a lane broke off; 130 after Ctrl-C.
"""

import argparse
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from types import FrameType

from hack.suite import display, lanes, progress, running

ROOT = pathlib.Path(__file__).parents[2]
LAST_LINES = 40


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sriov-tests-"))
    with running.started(lanes.planned(fast=options.fast), sys.executable, folder) as started:
        with display.opened([each.progress for each in started]) as shown:
            shown.say(f"the logs of these tests: {folder}/*.log")
            try:
                running.follow(started, shown)
            except KeyboardInterrupt:
                shown.say("stopping")
                return 128 + signal.SIGINT
        _tell(started, options.began or started[0].began)
        failed = any(each.status for each in started)
    if not failed:
        shutil.rmtree(folder)
    return int(failed)


def _tell(started: Sequence[running.Running], began: float) -> None:
    phases = [progress.Phase("packages, venv", 0, started[0].began - began)]
    for each in started:
        what = f"{each.progress.done} tests" + (f", exit status {each.status}" if each.status else "")
        ended = each.ended or time.time()
        phases.append(progress.Phase(each.progress.name, each.began - began, ended - began, what))
    for each in started:
        if each.status:
            print(f"\n===== {each.progress.name}, the end of {each.log} =====")
            print(_told(each.log))
    print("\n" + "\n".join(progress.summary([each.progress for each in started], phases)))


def _told(log: pathlib.Path) -> str:
    """Return the failures that pytest shows, or the last lines if it broke off."""
    lines = log.read_text(errors="replace").splitlines()
    heads = [number for number, line in enumerate(lines) if line.strip("=").strip() in ("FAILURES", "ERRORS")]
    return "\n".join(lines[heads[0] if heads else -LAST_LINES :])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hack/test", description="Every test, in lanes beside each other.")
    parser.add_argument(
        "--fast", action="store_true", help="without what needs a guest or root, benchmarks, and what takes long"
    )
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    return parser


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
