"""Application of a plan: shown, confirmed, carried out. Output for programs is on stdout, other text on stderr."""

import sys
from collections.abc import Sequence

import click

from sriov.provisioning import apply, machine, observe, plan, policies, steps
from sriovctl import exit_codes, output
from sriovctl.views import documents, plans


def show_alone(hands: machine.Machine, wanted: Sequence[policies.PfPolicy], form: output.OutputFormat) -> int:
    """Show the plan and do nothing. Returns the exit status; raises SriovError."""
    return _show(plan.make(observe.observe(hands.node), wanted), form, applied=False)


def carry_out(
    hands: machine.Machine, wanted: Sequence[policies.PfPolicy], form: output.OutputFormat, *, yes: bool
) -> int:
    """Plan, show, ask, apply. Returns the exit status; raises SriovError."""
    made = plan.make(observe.observe(hands.node), wanted)
    status = _show(made, form, applied=True)
    if status or not made.steps:
        return status
    if not yes and not _agreed():
        return exit_codes.Exit.REFUSED
    apply.apply(hands, made.steps, _tell)
    click.echo(f"done: {len(made.steps)} steps", err=True)
    return exit_codes.Exit.FINE


def _show(made: plan.Plan, form: output.OutputFormat, *, applied: bool) -> int:
    if made.steps or not form.for_people:
        output.show(form, plans.table(made.steps), documents.plain(plans.document(made, applied=applied)))
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    for refusal in made.refusals:
        click.echo(f"refused: {refusal}", err=True)
    if made.refusals:
        click.echo("nothing is changed", err=True)
        return exit_codes.Exit.REFUSED
    if not made.steps:
        click.echo("nothing to do: the node is as the file declares", err=True)
    return exit_codes.Exit.FINE


def _agreed() -> bool:
    """Ask. Only a person at a terminal can agree."""
    if not sys.stdin.isatty():
        click.echo("refused: cannot ask, stdin is not a terminal; use --yes", err=True)
        return False
    return click.confirm("Do this?", err=True)


def _tell(step: steps.ProvisioningStep) -> None:
    click.echo(str(step), err=True)
