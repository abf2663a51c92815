"""Application of a plan. It may be interrupted at any instruction: the same command again finishes it.

All that needs disk space is written before anything is changed, so that a full disk changes nothing.
"""

import contextlib
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from sriov import errors
from sriov.linux import host_rules, netlink
from sriov_installer import files, plans

_ACTIONS: Mapping[plans.Action, Callable[[Path], None]] = {
    plans.Action.KEEP: files.keep,
    plans.Action.WRITE: files.commit,
    plans.Action.RESTORE: files.restore,
    plans.Action.REMOVE: files.remove,
    plans.Action.LEAVE: lambda _: None,
    plans.Action.REMOVE_RUN_FOLDER: files.clear_run_folder,
    plans.Action.CLEAR_RUN_FOLDER: files.clear_run_folder,
    plans.Action.END_SERVICES: files.end_services,
    plans.Action.CLEAR_STATE: files.clear_state,
}


def apply(steps: plans.Steps) -> None:
    """Carry out the steps. Raises SriovError."""
    _stage(steps)
    for step in steps:
        if isinstance(step, plans.Order):
            _run(step.command)
        elif isinstance(step, plans.RulesStep):
            _remove_rules()
        else:
            _ACTIONS[step.action](step.path)


def _run(command: tuple[str, ...]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().replace("\n", "; ") or f"exit status {done.returncode}"
        raise errors.SriovError(f"{' '.join(command)} failed: {said}", "fix that, then run the same command again")


def _remove_rules() -> None:
    with contextlib.closing(netlink.Netlink()) as net:
        host_rules.remove(net)


def _stage(steps: plans.Steps) -> None:
    written = [step.artefact for step in steps if isinstance(step, plans.FileStep) and step.artefact is not None]
    try:
        for each in written:
            files.make_folder(each.path.parent)
            files.stage(each.path, each.content, each.mode)
    except errors.SriovError:
        for each in written:
            with contextlib.suppress(OSError):
                files.draft(each.path).unlink(missing_ok=True)
        raise
