"""Which release this is: what pyproject.toml said when it was installed. It stands nowhere else."""

import argparse

DISTRIBUTION = "sriov-underlay"


def installed() -> str:
    """The release, or what to do where the programs run from their sources."""
    from importlib import metadata  # noqa: PLC0415  # a tenth of a daemon's start, for a line that few ask for

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return f"unknown, run from the sources; {DISTRIBUTION} is not installed"


class Shown(argparse.Action):
    """`--version`: says the release and ends the program."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        parser.exit(message=f"{DISTRIBUTION} {installed()}\n")


def add_flag(made: argparse.ArgumentParser, *names: str) -> None:
    made.add_argument(*(names or ("--version",)), action=Shown, nargs=0, help="say which release this is, and end")
