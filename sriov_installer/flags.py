"""Command line, and its paths on the node: all below --root."""

import argparse
import pathlib
import sys
from collections.abc import Callable, Mapping

from sriov import versions
from sriov_installer import artifacts

VALUED = (
    *("--cni-bin-dir", "--systemd-dir", "--udev-dir", "--networkd-dir", "--completions-dir", "--programs-dir"),
    *("--run-dir", "--root", "--predecessor-dir", "--services-dir", "--state-dir", "--plugin"),
)
"""Options that have a value."""
Run = Callable[[argparse.Namespace], int]

# All that follows these is read elsewhere, also what begins with a dash.
_PASSED_ON = {
    "check": "say whether the programs would take these files: `sriovctl check`",
    "cluster": "what the chart's hooks run, in a pod: whether the daemons answer, removal of the shim",
}


def parser(commands: Mapping[str, Run]) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "sriov-underlay",
        description="Installs sriov-underlay on a node, and removes it.",
        epilog="Beside it, each with --help: the daemons sriov-device-plugin and sriov-cni-daemon,\n"
        "the agent sriov-agent, sriov-dra-driver, which serves claims, and sriovctl, which shows what they\n"
        "know and why a pod has no VF.",
        formatter_class=argparse.RawDescriptionHelpFormatter,  # others break a name at its hyphen
        allow_abbrev=False,
    )
    versions.add_flag(made)
    each = made.add_subparsers(required=True, metavar="COMMAND")
    _add_install(_command(each, "install", commands, "install the shim and the units"))
    _add_uninstall(_command(each, "uninstall", commands, "remove what is ours, and put back what was there before"))
    ends = "exit status 0: as this version installs it; 3: not installed; 4: another version, or not all of it"
    _command(each, "status", commands, "show what is installed").epilog = ends
    for name, text in _PASSED_ON.items():
        passing = each.add_parser(name, help=text, description=text, add_help=False, prefix_chars="\0")
        passing.add_argument("arguments", nargs="*", metavar="ARGUMENT")
        passing.set_defaults(run=commands[name])
    each.add_parser("version", help="print the release").set_defaults(run=commands["version"])
    return made


def inside(given: argparse.Namespace, path: pathlib.Path) -> pathlib.Path:
    root: pathlib.Path = given.root
    return root / path.relative_to("/")


def wanted(given: argparse.Namespace) -> tuple[artifacts.Artefact, ...]:
    """Return the artifacts to install, the shim first."""
    shim = artifacts.shim(inside(given, given.cni_bin_dir), name=given.plugin)
    if given.shim_only:
        return (shim,)
    units = artifacts.units(inside(given, given.systemd_dir), given.programs_dir)
    more = [*(services(given) if given.services else ()), *(provisioning(given) if given.provisioning else ())]
    return (shim, *units, *more, *(completions(given) if given.completions else ()))


def services(given: argparse.Namespace) -> tuple[artifacts.Artefact, ...]:
    """Return the artifacts of Services, whether they are wanted or not."""
    return artifacts.services(inside(given, given.systemd_dir), given.programs_dir)


def provisioning(given: argparse.Namespace) -> tuple[artifacts.Artefact, ...]:
    """Return the artifacts of provisioning, whether they are wanted or not."""
    systemd, udev, networkd = (inside(given, each) for each in (given.systemd_dir, given.udev_dir, given.networkd_dir))
    return artifacts.provisioning(systemd, udev, networkd, given.programs_dir)


def completions(given: argparse.Namespace) -> tuple[artifacts.Artefact, ...]:
    return artifacts.completions(inside(given, given.completions_dir))


def targets(given: argparse.Namespace) -> list[pathlib.Path]:
    """Return the paths of all artifacts."""
    return [each.path for each in wanted(given)]


def folders(given: argparse.Namespace) -> list[tuple[pathlib.Path, str]]:
    """Return the folders that are written to, each with its flag."""
    named = [("--cni-bin-dir", given.cni_bin_dir)]
    if not given.shim_only:
        named.append(("--systemd-dir", given.systemd_dir))
        more = [("--udev-dir", given.udev_dir), ("--networkd-dir", given.networkd_dir)]
        named += more if given.provisioning else []
    return [(inside(given, path), flag) for flag, path in named]


def _add_install(made: argparse.ArgumentParser) -> None:
    _switch(made, "--replace-incumbent", "put another plugin of that name aside; uninstall restores it")
    _switch(
        made,
        "--services",
        "also what lets pods on VFs reach Services: the agent's unit, and a part of the CNI daemon's",
    )
    _switch(made, "--provisioning", "also what makes VFs at boot and keeps network managers off them")
    _switch(made, "--enable", "enable the units, and start or restart them if systemd runs")
    _switch(made, "--no-sleep", "changes nothing: what sriov-network-operator tells images of CNI plugins")
    _switch(made, "--dry-run", "show what would be done, and do nothing")


def _add_uninstall(made: argparse.ArgumentParser) -> None:
    _switch(made, "--leave-attachments", "uninstall although pods hold VFs; the next installation takes them over")
    _switch(made, "--dry-run", "show what would be done, and do nothing")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, runs: Mapping[str, Run], text: str
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    made.set_defaults(run=runs[name], services=False, provisioning=False, completions=False)
    _switch(made, "--shim-only", "only the shim, as in a DaemonSet's init container")
    made.add_argument(
        "--plugin",
        choices=artifacts.PLUGINS,
        default=artifacts.PLUGIN,
        help="with --shim-only: the shim's name, as networks' type; ib-sriov is ib-sriov-cni's (%(default)s)",
    )
    _folder(made, "--cni-bin-dir", "/opt/cni/bin", "where the runtime looks for CNI plugins")
    _folder(made, "--systemd-dir", "/etc/systemd/system", "where units go")
    _folder(made, "--udev-dir", "/etc/udev/rules.d", "where udev's rules go")
    _folder(made, "--networkd-dir", "/etc/systemd/network", "where systemd-networkd's files go")
    _folder(made, "--programs-dir", str(pathlib.Path(sys.executable).parent), "where the units find the daemons")
    _folder(made, "--completions-dir", "/usr/local/share", "where shells look for completions; none if it is not there")
    _folder(made, "--run-dir", "/run/sriov", "the daemons' run directory")
    _folder(made, "--services-dir", "/sys/fs/bpf/sriov-underlay", "what the CNI daemon's --services names")
    _folder(made, "--state-dir", "/var/lib/sriov-underlay", "where the CNI daemon keeps the last Services")
    _folder(made, "--predecessor-dir", "/var/lib/cni/sriov", "records of pods that sriov-cni attached")
    _folder(made, "--root", "/", "the node's file system: another folder for images and tests")
    return made


def _switch(made: argparse.ArgumentParser, flag: str, text: str) -> None:
    made.add_argument(flag, action="store_true", help=text)


def _folder(made: argparse.ArgumentParser, flag: str, default: str, text: str) -> None:
    made.add_argument(flag, type=_absolute, default=pathlib.Path(default), metavar="DIR", help=f"{text} (%(default)s)")


def _absolute(text: str) -> pathlib.Path:
    path = pathlib.Path(text)
    if not path.is_absolute():
        raise argparse.ArgumentTypeError(f"{text!r} is relative, give the whole path")
    return path
