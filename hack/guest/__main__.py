"""`hack/lab`: boots a guest with two SR-IOV network cards on this machine's own files and runs a command in it.

Exit status of `run` and `shell`: the command's; 125 where the lab failed, 75 where the guest stood still (a fault of
the emulation, worth another try), 69 where this machine can have none.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from hack.guest import boot, errors, jobs, machine, nics, progress
from hack.guest.downloads import cache, netdevsim, parts

PROJECT = Path(__file__).parents[2]
FAILED = 125
STATUSES = {errors.UnavailableError: os.EX_UNAVAILABLE, errors.StoodStillError: os.EX_TEMPFAIL}
PASSED_ON = ("TERM", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "CI")


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    shown = progress.Progress(sys.stderr, quiet=getattr(options, "quiet", False))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        verb: Callable[[argparse.Namespace, progress.Progress], int] = options.verb
        return verb(options, shown)
    except errors.LabError as error:
        shown.clear()
        print(f"lab: {error}", file=sys.stderr)
        return STATUSES.get(type(error), FAILED)
    except KeyboardInterrupt:
        shown.clear()
        return 128 + signal.SIGINT


def run(options: argparse.Namespace, shown: progress.Progress) -> int:
    """Boots a guest and runs the command in it."""
    return _boot(options, options.command, _environment(options.env), shown)


def shell(options: argparse.Namespace, shown: progress.Progress) -> int:
    """Boots a guest with a stand-in kubelet, the device plugin and the CNI daemon, and gives a prompt on it."""
    size = shutil.get_terminal_size()
    seen = {"PYTHONPATH": str(PROJECT), "COLUMNS": str(size.columns), "LINES": str(size.lines)}
    command = [sys.executable, "-P", "-m", "hack.story.shell"]
    return _boot(options, command, seen | _environment(options.env), shown, terminal=True)


def _boot(
    options: argparse.Namespace,
    command: Sequence[str],
    environment: Mapping[str, str],
    shown: progress.Progress,
    *,
    terminal: bool = False,
) -> int:
    if os.geteuid() != 0:
        raise errors.UnavailableError("only root can share this machine's files with a guest; run hack/lab as root")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    out = options.out.resolve() if options.out else None
    limits = boot.Limits(options.memory, options.cpus, options.timeout)
    with cache.borrowed(options.cache, shown) as have:
        simulator = netdevsim.built(options.cache, have, shown) if options.netdevsim else None
        job = jobs.Job(command, PROJECT, environment, out, options.numvfs, simulator, terminal, options.network)
        return boot.run(have, job, limits, _to_stdout, shown, console=options.console).status


def fetch(options: argparse.Namespace, shown: progress.Progress) -> int:
    """Fills the cache with QEMU and a kernel, or verifies what is in it."""
    have = cache.fetch(options.cache, shown)
    netdevsim.verify(options.cache, shown)
    shown.clear()
    print(f"QEMU and Linux {have.release} in {options.cache}")
    return 0


def status(options: argparse.Namespace, _: progress.Progress) -> int:
    """Prints what is cached; fails if nothing is."""
    have = parts.load(options.cache / "parts")
    print(f"QEMU and Linux {have.release} in {options.cache}" if have else f"nothing in {options.cache}")
    return 0 if have else 1


def clean(options: argparse.Namespace, _: progress.Progress) -> int:
    """Empties the cache."""
    cache.clean(options.cache)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hack/lab", description=__doc__, formatter_class=_Raw)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    made = {verb: verbs.add_parser(verb.__name__, help=verb.__doc__) for verb in (run, shell, fetch, status, clean)}
    for verb, each in made.items():
        each.set_defaults(verb=verb)
        each.add_argument("--cache", type=Path, default=cache.default(), metavar="DIR", help="default: %(default)s")
    _add_guest(made[run], boot.Limits())
    made[run].add_argument("command", nargs="+", metavar="COMMAND", help="after --, with its arguments")
    _add_guest(made[shell], boot.Limits(timeout=math.inf))
    return parser


def _add_guest(add: argparse.ArgumentParser, size: boot.Limits) -> None:
    add.add_argument("--out", type=Path, metavar="DIR", help="a folder the guest can write to, there $LAB_OUT")
    limit = "until the guest is ended, default %(default)s"
    add.add_argument("--timeout", type=float, default=size.timeout, metavar="SECONDS", help=limit)
    add.add_argument(
        "--memory", type=_size, default=size.memory, metavar="SIZE", help="of the guest, default %(default)s"
    )
    add.add_argument("--cpus", type=int, default=size.cpus, metavar="N", help="of the guest, default %(default)s")
    add.add_argument("--numvfs", type=int, default=nics.VFS_PER_PF, metavar="N", help="VFs of each PF, 0 to 7")
    add.add_argument("--netdevsim", action="store_true", help="load the kernel's simulator of network cards, too")
    add.add_argument("--network", action="store_true", help="a card to this machine's network, `outside` in the guest")
    add.add_argument("--env", action="append", default=[], metavar="NAME[=VALUE]", help="for the command")
    add.add_argument("--console", type=Path, metavar="FILE", help="keep the guest's kernel messages")
    add.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _size(text: str) -> str:
    """Check a size of memory: argparse names the option and prints the reason."""
    try:
        machine.memory_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _environment(asked: Sequence[str]) -> dict[str, str]:
    """Return the command's environment. The guest cannot see a terminal at this end, so a variable reports it."""
    chosen = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if sys.stdout.isatty():
        chosen = {"FORCE_COLOR": "1", "COLUMNS": str(shutil.get_terminal_size().columns)} | chosen
    for entry in asked:
        name, given, value = entry.partition("=")
        chosen[name] = value if given else os.environ.get(name, "")
    return chosen


def _to_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keeps the description's line breaks."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
