"""`sriov-underlay install | uninstall | status`: puts on a node what runtimes and systemd look for, and takes it away.

It never starts a container, reads a cluster or changes a NIC. Exit status 0 when it is as asked, 1 when a problem keeps
it from that (then nothing was changed), 2 for wrong flags; `status` has two more, which --help tells.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from installer import artefacts, deeds, files, plans, status
from sriov import errors


def main(argv: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(argv)
    try:
        return int(given.run(given))
    except errors.SriovError as error:
        return _refuse([str(error)])


def _install(given: argparse.Namespace) -> int:
    wanted = _wanted(given)
    if problems := plans.folder_problems(_folders(given)) + _interpreters(given, wanted):
        return _refuse(problems)
    with files.locked(_inside(given, given.cni_bin_dir)):
        there = plans.look(each.path for each in wanted)
        return _carry_out(given, plans.install(wanted, there, replace_incumbent=given.replace_incumbent))


def _uninstall(given: argparse.Namespace) -> int:
    paths = [each.path for each in _wanted(given) if each.path.parent.is_dir()]
    folders = [(folder, flag) for folder, flag in _folders(given) if folder.is_dir()]
    if problems := plans.folder_problems(folders):
        return _refuse(problems)
    if not paths:
        return 0
    with files.locked(paths[0].parent):
        return _carry_out(given, plans.uninstall(paths, plans.look(paths)))


def _status(given: argparse.Namespace) -> int:
    wanted = _wanted(given)
    there = plans.look(each.path for each in wanted)
    print(*status.lines(wanted, there), sep="\n")
    return int(status.standing(wanted, there))


def _carry_out(given: argparse.Namespace, plan: plans.Plan) -> int:
    if plan.problems:
        return _refuse(plan.problems)
    for step in plan.steps:
        print(f"would {step}" if given.dry_run else step)
    if not plan.steps:
        print("nothing to do")
    if not given.dry_run:
        deeds.apply(plan.steps)
    return 0


def _wanted(given: argparse.Namespace) -> tuple[artefacts.Artefact, ...]:
    return (artefacts.shim(_inside(given, given.cni_bin_dir)),)


def _folders(given: argparse.Namespace) -> list[tuple[pathlib.Path, str]]:
    return [(_inside(given, given.cni_bin_dir), "--cni-bin-dir")]


def _interpreters(given: argparse.Namespace, wanted: Sequence[artefacts.Artefact]) -> list[str]:
    """In a container (--shim-only) the host's programs cannot be seen."""
    needed = {each.interpreter for each in wanted} - {""}
    lacking = [each for each in needed if not _inside(given, pathlib.Path(each)).exists()]
    if given.shim_only:
        return []
    return [f"the Python shim needs {each}; install it, or a package that has the native shim" for each in lacking]


def _inside(given: argparse.Namespace, path: pathlib.Path) -> pathlib.Path:
    root: pathlib.Path = given.root
    return root / path.relative_to("/")


def _refuse(problems: Sequence[str]) -> int:
    for each in problems:
        print(f"sriov-underlay: {each}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "sriov-underlay", description="Installs sriov-underlay on a node, and removes it.", allow_abbrev=False
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    install = _command(commands, "install", _install, "put the shim where the runtime looks for plugins")
    install.add_argument(
        "--replace-incumbent",
        action="store_true",
        help="put another plugin of that name aside; uninstall brings it back",
    )
    uninstall = _command(commands, "uninstall", _uninstall, "remove what is ours, and put back what was there before")
    for each in (install, uninstall):
        each.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    ends = "exit status 0: as this version installs it; 3: not installed; 4: another version, or not all of it"
    _command(commands, "status", _status, "say what is installed").epilog = ends
    return made


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, run: object, text: str
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    made.set_defaults(run=run)
    made.add_argument("--shim-only", action="store_true", help="only the shim, as in a DaemonSet's init container")
    _folder(made, "--cni-bin-dir", "/opt/cni/bin", "where the runtime looks for CNI plugins")
    _folder(made, "--root", "/", "the node's file system: another folder for images and tests")
    return made


def _folder(made: argparse.ArgumentParser, flag: str, default: str, text: str) -> None:
    made.add_argument(flag, type=_absolute, default=pathlib.Path(default), metavar="DIR", help=f"{text} (%(default)s)")


def _absolute(text: str) -> pathlib.Path:
    path = pathlib.Path(text)
    if not path.is_absolute():
        raise argparse.ArgumentTypeError(f"{text!r} is relative, give the whole path")
    return path


if __name__ == "__main__":
    sys.exit(main())
