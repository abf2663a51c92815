"""`sriov-underlay install | uninstall | status`: installs and removes the files of runtimes and systemd on a node.

It never starts a container or changes a NIC. Exit status 0 if all was done, 1 if a problem prevents it (then nothing
was changed), 2 for wrong flags; `status` has two more, see --help. `check` reads files, and only `cluster`, which the
chart's hooks run, speaks to a cluster: its exit statuses are in cluster/hooks.py.
"""

import argparse
import os
import pathlib
import runpy
import sys
from collections.abc import Iterable, Mapping, Sequence

from sriov import command_lines, errors, versions
from sriov.state import ledger
from sriov_installer import (
    apply,
    artifacts,
    attachments,
    files,
    flags,
    plans,
    preflight,
    run_directory,
    services,
    status,
)


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    given = flags.parser(COMMANDS).parse_args(command_lines.command_first(words, COMMANDS, flags.VALUED))
    try:
        return int(given.run(given))
    except errors.SriovError as error:
        return _refuse([str(error)])


def _install(given: argparse.Namespace) -> int:
    given = _completed(given)
    wanted, systemd = flags.wanted(given), services.look(given.root)
    if found := preflight.of_install(given, wanted, systemd):
        return _refuse(found)
    with files.locked(flags.inside(given, given.cni_bin_dir)):
        there = plans.look(each.path for each in wanted)
        plan = plans.install(wanted, there, replace_incumbent=given.replace_incumbent)
        if not given.shim_only:
            commands = systemd.reloading() + (
                systemd.enabling(_units(each.path for each in wanted)) if given.enable else []
            )
            plan = plans.InstallPlan(plan.steps + plans.orders(commands), plan.problems)
        return _carry_out(given, plan)


def _uninstall(given: argparse.Namespace) -> int:
    given = _with(given, **dict.fromkeys(("services", "provisioning", "completions"), not given.shim_only))
    run_dir, systemd = flags.inside(given, given.run_dir), services.look(given.root)
    held = [] if given.shim_only else attachments.held(run_dir)
    if found := preflight.of_uninstall(given, held + _held_before(given), systemd):
        return _refuse(found)
    folder = flags.inside(given, given.cni_bin_dir)
    with files.locked(folder if folder.is_dir() else given.root):
        paths = [path for path in flags.targets(given) if path.parent.is_dir()]
        there = plans.look(paths)
        plan = plans.uninstall(paths, there)
        if not given.shim_only:
            plan = _with_services(plan, systemd, _units(path for path in paths if plans.is_ours(there[path])))
            foreign = run_directory.foreign(run_dir) if run_dir.is_dir() else []
            left = () if held else _ending_services(given) + _ending_rules(given)
            plan = plans.InstallPlan(plan.steps + plans.run_folder(run_dir, held, foreign) + left)
        return _carry_out(given, plan)


def _ending_services(given: argparse.Namespace) -> plans.Steps:
    """Return the end of what the daemon leaves in the kernel and on the disk; its unit has been stopped by then."""
    pins, state = (flags.inside(given, each) for each in (given.services_dir, given.state_dir))
    return plans.services(pins, state, pinned=files.has_pins(pins), kept=files.has_state(state))


def _ending_rules(given: argparse.Namespace) -> plans.Steps:
    """Return the end of the node's rules for host links, which a daemon leaves that had pods when it ended."""
    return (plans.RulesStep(),) if attachments.left_rules(given.root) else ()


def _held_before(given: argparse.Namespace) -> list[ledger.Record]:
    """Return what sriov-cni attached and nobody could take back then: nothing, if sriov-cni is there or is put back."""
    shim = flags.inside(given, given.cni_bin_dir) / artifacts.PLUGIN
    if given.shim_only or files.backup(shim).exists() or not plans.is_ours(files.look(shim)):
        return []
    return attachments.held_before(flags.inside(given, given.predecessor_dir), given.root)


def _with_services(plan: plans.InstallPlan, systemd: services.Systemd, units: Sequence[str]) -> plans.InstallPlan:
    """Add services to a removal: stopped while systemd knows them, forgotten when their units are gone."""
    return plans.InstallPlan(plans.orders(systemd.disabling(units)) + plan.steps + plans.orders(systemd.reloading()))


def _status(given: argparse.Namespace) -> int:
    wanted = flags.wanted(_completed(given))
    there = plans.look(each.path for each in wanted)
    print(*status.lines(wanted, there), sep="\n")
    return int(status.standing(wanted, there))


def _check(given: argparse.Namespace) -> int:
    """Be `sriovctl check`, whose parsers are those of the other programs. Never returns.

    In this process, since another would look for modules in the working directory too.
    """
    sys.argv = ["sriovctl", "check", *given.arguments]
    runpy.run_module("sriovctl", run_name="__main__", alter_sys=True)
    return 0


def _cluster(given: argparse.Namespace) -> int:
    from sriov_installer.cluster import hooks  # noqa: PLC0415 (a client of HTTPS, which no other command needs)

    return hooks.main(given.arguments)


def _version(_: argparse.Namespace) -> int:
    print(versions.told("sriov-underlay"))
    return 0


COMMANDS: Mapping[str, flags.Run] = {
    "install": _install,
    "uninstall": _uninstall,
    "status": _status,
    "check": _check,
    "cluster": _cluster,
    "version": _version,
}


def _completed(given: argparse.Namespace) -> argparse.Namespace:
    """Keep Services and provisioning if installed: an upgrade is of all that is there. Completions need a folder."""
    if given.shim_only:
        return given
    shared = flags.inside(given, given.completions_dir)
    return _with(
        given,
        services=given.services or _is_installed(flags.services(given)),
        provisioning=given.provisioning or _is_installed(flags.provisioning(given)),
        completions=os.access(shared, os.W_OK | os.X_OK),
    )


def _is_installed(artefacts: Iterable[artifacts.Artefact]) -> bool:
    return any(map(plans.is_ours, plans.look(each.path for each in artefacts).values()))


def _with(given: argparse.Namespace, **more: bool) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(given), **more})


def _units(paths: Iterable[pathlib.Path]) -> list[str]:
    units = (*artifacts.UNITS, artifacts.AGENT, artifacts.PROVISION)
    return [path.name for path in paths if path.name in units]


def _carry_out(given: argparse.Namespace, plan: plans.InstallPlan) -> int:
    if plan.problems:
        return _refuse(plan.problems)
    for step in plan.steps:
        print(f"would {step}" if given.dry_run else step)
    if not plan.steps:
        print("nothing to do")
    if not given.dry_run:
        apply.apply(plan.steps)
    return 0


def _refuse(found: Sequence[str]) -> int:
    for each in found:
        print(f"sriov-underlay: {each}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
