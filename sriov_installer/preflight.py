"""Obstacles to an installation or removal, found before anything is changed: a line for each, with a remedy."""

import argparse
import os
import pathlib
import re
import subprocess
from collections.abc import Iterable, Sequence

from sriov.daemon import unix_sockets
from sriov.state import ledger
from sriov_installer import artifacts, attachments, flags, services

_SECONDS = 20.0  # that an interpreter may take to start on a busy machine
_PLAIN = re.compile(r"[\w./+@-]+")  # all that a unit file takes without quoting


def of_install(given: argparse.Namespace, wanted: Sequence[artifacts.Artefact], systemd: services.Systemd) -> list[str]:
    found = _of_folders(flags.folders(given)) + _of_the_name(given)
    if given.shim_only and given.provisioning:
        found.append("--provisioning is units and rules, which --shim-only leaves out; give one of them")
    if given.shim_only and given.services:
        found.append("--services is units, which --shim-only leaves out; give one of them")
    if given.shim_only:
        return found  # in a container the host's programs cannot be seen
    found += _of_interpreters(given, wanted) + _of_programs(given)
    if given.services:
        found += _of_agent(flags.inside(given, pathlib.Path("/etc/passwd")))
    if given.enable and not systemd.present:
        found.append("there is no systemctl to enable units with; leave out --enable")
    return found


def of_uninstall(given: argparse.Namespace, held: list[ledger.Record], systemd: services.Systemd) -> list[str]:
    """Return obstacles. Folders that do not exist have nothing in them; systemd stops a daemon that it runs."""
    found = _of_folders((folder, flag) for folder, flag in flags.folders(given) if folder.is_dir())
    found += _of_the_name(given)
    if not given.leave_attachments and (line := attachments.problem(held)):
        found.append(line)
    run_dir = flags.inside(given, given.run_dir)
    if not given.shim_only and not systemd.running and attachments.is_served(run_dir):
        found.append(f"a daemon still listens on {run_dir / 'cni.sock'}; stop it")
    return found


def _of_the_name(given: argparse.Namespace) -> list[str]:
    """Check that a shim of another name is alone: the units are of one shim, and would be installed with either."""
    alone = given.shim_only or given.plugin == artifacts.PLUGIN
    return [] if alone else [f"--plugin {given.plugin} is a shim without units; give --shim-only, too"]


def _of_agent(passwd: pathlib.Path) -> list[str]:
    """Check for the agent's user: systemd starts nothing as a user that has no entry."""
    entries = passwd.read_text().splitlines() if passwd.is_file() else []
    if any(each.split(":")[2:3] == [str(unix_sockets.AGENT_UID)] for each in entries):
        return []
    user = unix_sockets.AGENT_UID
    remedy = f"useradd --system --uid {user} --home-dir / --shell /usr/sbin/nologin {artifacts.AGENT_PROGRAM}"
    return [f"{passwd} has no user {user}, as which the agent runs; make it: {remedy}"]


def _of_folders(folders: Iterable[tuple[pathlib.Path, str]]) -> list[str]:
    """Check the folders. They are not created: a mistyped one would go unnoticed."""
    return [line for folder, flag in folders if (line := _of_folder(folder, flag))]


def _of_folder(folder: pathlib.Path, flag: str) -> str:
    if not folder.is_dir():
        unless = {"--systemd-dir": ", or take --shim-only"}.get(flag, "")
        return f"there is no folder {folder}; make it, or say by {flag} where this node has it{unless}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"cannot write into {folder}; run this as root, on a file system that is not read-only"
    return ""


def _of_interpreters(given: argparse.Namespace, wanted: Sequence[artifacts.Artefact]) -> list[str]:
    needed = sorted({each.interpreter for each in wanted} - {""})
    return [line for each in needed if (line := _of_interpreter(each, flags.inside(given, pathlib.Path(each))))]


def _of_interpreter(name: str, path: pathlib.Path) -> str:
    """Check an interpreter; one that cannot be started here, as in another architecture's root, is not judged."""
    if not path.exists():
        return f"the Python shim needs {name}; install it, or a package that has the native shim"
    version = _python_version(path)
    if version is None or version >= artifacts.OLDEST_PYTHON:
        return ""
    oldest, found = (".".join(map(str, each)) for each in (artifacts.OLDEST_PYTHON, version))
    return (
        f"the Python shim needs Python {oldest} or later, and {name} is {found or 'older'}; install a later one there, "
        "or a package that has the native shim"
    )


def _python_version(path: pathlib.Path) -> tuple[int, ...] | None:
    """Return major and minor, started as the shim is; () if it does not understand, None if it cannot be started."""
    ask = "import sys; sys.stdout.write('%d %d' % sys.version_info[:2])"
    try:
        done = subprocess.run((path, "-IS", "-c", ask), capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    return tuple(map(int, words)) if len(words) == 2 and all(map(bytes.isdigit, words)) else ()


def _of_programs(given: argparse.Namespace) -> list[str]:
    folder = given.programs_dir
    if not _PLAIN.fullmatch(str(folder)):
        return [f"{str(folder)!r} cannot be used in a unit file; install the package at a path without such characters"]
    more = {artifacts.PROVISIONER: given.provisioning, artifacts.AGENT_PROGRAM: given.services}
    needed = (*artifacts.PROGRAMS, *(name for name, wanted in more.items() if wanted))
    lacking = [name for name in needed if not flags.inside(given, folder / name).exists()]
    return [
        f"there is no {folder / name}; install the package there with pip, or say by --programs-dir where it is"
        for name in lacking
    ]
