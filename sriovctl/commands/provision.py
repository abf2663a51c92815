"""`sriovctl provision`: shows what a file would change on this node, and changes it. Decides nothing."""

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator, Mapping

import click

from sriov import errors
from sriov.state import run_files
from sriovctl import options, output, paths
from sriovctl.node import kubelet


def register(program: click.Group) -> None:
    program.add_command(_command)


@click.command("provision")
@click.option("--plan", "plan", is_flag=True, help="Show what would be done, and do nothing; also without this flag.")
@click.option("--apply", "changes", is_flag=True, help="Show it, ask, and do it.")
@click.option("--yes", "-y", is_flag=True, help="With --apply: do not ask.")
@options.output_option
@click.argument("file", type=click.Path(path_type=pathlib.Path))
@options.pass_places
def _command(
    where: paths.Places, *, plan: bool, changes: bool, yes: bool, form: output.OutputFormat, file: pathlib.Path
) -> int:
    """Make the node's VFs as FILE says: how many, their driver, MTU, MACs, trust; see docs/provisioning.md.

    A VF in use is never touched. If a step fails, everything is put back as it was, and the message names the step.
    """
    from sriov.provisioning import document, host  # noqa: PLC0415 (pyroute2 takes long)
    from sriovctl.commands import provision_apply  # noqa: PLC0415

    if plan and changes:
        raise click.UsageError("--plan and --apply contradict each other: leave one of them out")
    if yes and not changes:
        raise click.UsageError("--yes goes with --apply: without it nothing is asked and nothing is changed")
    try:
        wanted = document.load(file)
    except document.DocumentError as error:
        raise click.BadParameter(str(error), param_hint="FILE") from error
    hands = host.made(where.sysfs, where.proc, where.run_dir, lambda: _pods(where))
    if not changes:
        return provision_apply.show_alone(hands, wanted, form)
    with _alone(where.run_dir):
        return provision_apply.carry_out(hands, wanted, form, yes=yes)


def _pods(where: paths.Places) -> Mapping[str, str]:
    """Return the pods by device, as the kubelet reports them; before it runs, as at boot, there are none."""
    return {device: str(holder) for device, holder in kubelet.ask(where.pod_resources).holders.items()}


@contextlib.contextmanager
def _alone(run_dir: pathlib.Path) -> Iterator[None]:
    """Take the lock: two runs that make VFs would undo one another's work."""
    run_files.make_folder(run_dir)
    with (run_dir / "provision.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise errors.BusyError("another `sriovctl provision --apply` is running", "wait until it ends") from error
        yield
