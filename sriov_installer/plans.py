"""Plan of an installation or removal, from what is on the node. Pure, so that a dry run shows exactly the plan.

A file that is not ours is never overwritten. If the user allows it, it is kept beside ours, and `uninstall` puts it
back.
"""

import enum
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from sriov.linux import host_rules
from sriov_installer import artifacts, files, marks

Findings = Mapping[pathlib.Path, files.Found | None]
"""Contents of each target, its backup, and both drafts."""


class Action(enum.Enum):
    KEEP = "keep what is there as"
    WRITE = "write"
    RESTORE = "put back what was there before"
    REMOVE = "remove"
    LEAVE = "leave, since it is not ours,"
    REMOVE_RUN_FOLDER = "remove the folder"
    CLEAR_RUN_FOLDER = "remove our files, and leave those of others, in"
    END_SERVICES = "end the programs for Services that are pinned in"
    CLEAR_STATE = "remove the last Services in"


class FileStep(msgspec.Struct, frozen=True):
    """One change. `path` is the target; for REMOVE it is any file of ours, for what follows LEAVE a daemon's folder."""

    action: Action
    path: pathlib.Path
    artefact: artifacts.Artefact | None = None

    def __str__(self) -> str:
        return f"{self.action.value} {files.backup(self.path) if self.action is Action.KEEP else self.path}"


class Order(msgspec.Struct, frozen=True):
    """A command line to run."""

    command: tuple[str, ...]

    def __str__(self) -> str:
        return f"run {shlex.join(self.command)}"


class RulesStep(msgspec.Struct, frozen=True):
    """Removal of the node's table of nftables for host links, in the namespace of this process."""

    def __str__(self) -> str:
        return f"remove the table {host_rules.TABLE} of nftables, as no pod has a host link"


Steps = tuple[FileStep | Order | RulesStep, ...]


class InstallPlan(msgspec.Struct, frozen=True):
    """A plan with a problem is not carried out. Problems end with what the user can do."""

    steps: Steps = ()
    problems: tuple[str, ...] = ()


def places(path: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Return all the names that an installation ever uses for one target."""
    kept = files.backup(path)
    return path, kept, files.draft(path), files.draft(kept)


def look(paths: Iterable[pathlib.Path]) -> Findings:
    return {place: files.look(place) for path in paths for place in places(path)}


def is_ours(found: files.Found | None) -> bool:
    return found is not None and found.content is not None and marks.version_of(found.content) is not None


def is_foreign_completion(wanted: artifacts.Artefact, found: files.Found | None) -> bool:
    """Report whether somebody completes a program already: that is no reason to install nothing."""
    return artifacts.is_completion(wanted) and found is not None and not is_ours(found)


def install(wanted: Iterable[artifacts.Artefact], there: Findings, *, replace_incumbent: bool) -> InstallPlan:
    steps: list[FileStep] = []
    problems: list[str] = []
    for each in wanted:
        if is_foreign_completion(each, there[each.path]):
            steps.append(FileStep(Action.LEAVE, each.path))
            continue
        problem = _obstacle(each, there[each.path], replace_incumbent)
        if problem:
            problems.append(problem)
        else:
            steps += _placing(each, there)
    return InstallPlan(tuple(steps), tuple(problems))


def uninstall(paths: Iterable[pathlib.Path], there: Findings) -> InstallPlan:
    return InstallPlan(tuple(step for path in paths for step in _taking_away(path, there)))


def orders(commands: Iterable[tuple[str, ...]]) -> Steps:
    return tuple(map(Order, commands))


def run_folder(run_dir: pathlib.Path, held: Sequence[object], foreign: Sequence[str]) -> Steps:
    """Remove our part of the run directory, unless VFs are `held` for a successor. `foreign` are others' files there.

    The files are listed again when that is done: a daemon writes until it has been stopped.
    """
    if held or not run_dir.is_dir():
        return ()
    return (FileStep(Action.CLEAR_RUN_FOLDER if foreign else Action.REMOVE_RUN_FOLDER, run_dir),)


def services(pins: pathlib.Path, state: pathlib.Path, *, pinned: bool, kept: bool) -> Steps:
    """End what the CNI daemon has `pinned` for Services, and remove what it has `kept` of them."""
    steps = [(Action.END_SERVICES, pins, pinned), (Action.CLEAR_STATE, state, kept)]
    return tuple(FileStep(action, path) for action, path, there in steps if there)


def _obstacle(wanted: artifacts.Artefact, found: files.Found | None, replace_incumbent: bool) -> str:
    if found is None or is_ours(found):
        return ""
    if found.folder:
        return f"{wanted.path} is a folder; remove it"
    if not wanted.displaces:
        return f"{wanted.path} does not belong to sriov-underlay; move it away"
    if replace_incumbent:
        return ""
    kept = files.backup(wanted.path).name
    return f"{wanted.path} is another plugin; give --replace-incumbent to replace it and keep it as {kept}"


def _placing(wanted: artifacts.Artefact, there: Findings) -> list[FileStep]:
    found = there[wanted.path]
    if found is not None and (found.content, found.mode) == (wanted.content, wanted.mode):
        return _sweeping(wanted.path, there)
    aside = [] if found is None or is_ours(found) else [FileStep(Action.KEEP, wanted.path)]
    return [*aside, FileStep(Action.WRITE, wanted.path, wanted)]


def _taking_away(path: pathlib.Path, there: Findings) -> list[FileStep]:
    found, kept = there[path], files.backup(path)
    if there[kept] is None:
        steps = [FileStep(Action.REMOVE, path)] if is_ours(found) else []
    else:
        stands = found is not None and not is_ours(found)  # the other plugin was installed again over ours
        steps = [FileStep(Action.REMOVE, kept) if stands else FileStep(Action.RESTORE, path)]
    return steps + _sweeping(path, there)


def _sweeping(path: pathlib.Path, there: Findings) -> list[FileStep]:
    """Remove the drafts of an installation that died."""
    _, _, *drafts = places(path)
    return [FileStep(Action.REMOVE, each) for each in drafts if there[each] is not None]
