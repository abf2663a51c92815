"""Release of this installation, as pyproject.toml had it: written there only, and read here only."""

import argparse

DISTRIBUTION = "sriov-underlay"


def installed() -> str | None:
    """Return the release; None if the programs run from their sources, which nobody has installed."""
    from importlib import metadata  # noqa: PLC0415  # a tenth of a daemon's start, for a line that few ask for

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def told(program: str) -> str:
    """Return what `--version` prints: program, package and release (GNU Coding Standards, --version), or why none."""
    release = installed() or f"unknown, run from the sources; {DISTRIBUTION} is not installed"
    return f"{program} {release}" if program == DISTRIBUTION else f"{program} ({DISTRIBUTION}) {release}"


class Shown(argparse.Action):
    """`--version`: prints the release and ends the program."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        print(told(parser.prog))
        parser.exit()


def add_flag(made: argparse.ArgumentParser, *names: str) -> None:
    made.add_argument(*(names or ("--version",)), action=Shown, nargs=0, help="print the release and exit")
