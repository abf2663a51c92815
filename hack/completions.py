"""Generator of the programs' completions, started by hack/gen-completions; --check reports which are out of date.

shtab writes them for the programs with argparse. sriovctl's are click's own: they ask sriovctl itself, which knows this
node's devices, pods and resources.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import click.shell_completion
import shtab

from deviceplugin import flags as deviceplugin
from sriov.daemon import logs
from sriov_agent import app as sriov_agent
from sriov_cni import flags as cni_flags
from sriov_dra import flags as dra_flags
from sriov_installer import __main__ as installer
from sriov_installer import artifacts
from sriov_installer import flags as sriov_installer
from sriovctl import app as sriovctl

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "sriov_installer/completions"
_PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "sriov-device-plugin": deviceplugin.parser,
    "sriov-cni-daemon": cni_flags.parser,
    "sriov-agent": sriov_agent._parser,
    "sriov-dra-driver": dra_flags.parser,
    "sriov-underlay": lambda: sriov_installer.parser(installer.COMMANDS),
}
_CHOICES = {
    "registration": ("direct", "watcher"),
    "log_format": tuple(map(str, logs.Format)),
    "log_level": tuple(logs.LEVELS),
}
"""Values of options whose type takes more than these, or gives its own error."""


def made() -> dict[str, str]:
    """Return the files by name below FOLDER, the same on every machine."""
    found = {
        (shell, name): shtab.complete(_prepared(make()), shell)
        for shell in artifacts.SHELLS
        for name, make in _PARSERS.items()
    }
    found |= {(shell, "sriovctl"): _of_click(shell) for shell in artifacts.SHELLS}
    return {f"{shell}/{name}": text if text.endswith("\n") else f"{text}\n" for (shell, name), text in found.items()}


def _prepared(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    for action in _actions(parser):
        if action.dest == "programs_dir":  # its default is where this runs
            action.default = "/opt/sriov-underlay/bin"
        if action.choices is None and action.dest in _CHOICES:
            action.choices = _CHOICES[action.dest]
        if action.type in (pathlib.Path, sriov_installer._absolute) or action.metavar == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)


def _of_click(shell: str) -> str:
    kind = click.shell_completion.get_completion_class(shell)
    assert kind is not None
    maker = kind(sriovctl.program, {}, "sriovctl", "_SRIOVCTL_COMPLETE")
    return maker.source_template % maker.source_vars()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="hack/gen-completions", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing, end with 1 where something is out of date"
    )
    check = parser.parse_args(arguments).check
    old = {name: text for name, text in made().items() if not _is(FOLDER / name, text)}
    for name, text in old.items():
        if check:
            print(f"gen-completions: {name} is out of date; run hack/gen-completions", file=sys.stderr)
            continue
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text)
    return 1 if check and old else 0


def _is(path: pathlib.Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
