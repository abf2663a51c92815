"""Program: its options, its commands by name, and how failures are shown.

A command is a module of its own with one function `register(program)` that adds it; _COMMANDS lists these functions.
What takes long to import (grpc, pyroute2) is imported by the command that needs it, when it runs: help and completion
are fast.
"""

import json
from collections.abc import Callable, Sequence

import click

from sriovctl import exit_codes, groups, options, paths
from sriovctl.commands import attachments, check, doctor, explain, inventory, policy, provision, topology
from sriovctl.node.policies import standing
from sriovctl.views import documents

_COMMANDS: tuple[Callable[[click.Group], None], ...] = (
    inventory.register,
    attachments.register,
    doctor.register,
    explain.register,
    policy.register,
    topology.register,
    provision.register,
    check.register,
)


class _Program(groups.CommandsFirst):
    """Takes options before the command or behind it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, options.in_order(args))


@click.group(
    cls=_Program,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
    },
    epilog='Completion: eval "$(_SRIOVCTL_COMPLETE=bash_source sriovctl)" (or zsh_source, fish_source).',
)
@options.of_places
@click.pass_context
def program(context: click.Context, /, **given: object) -> None:
    """See and manage the SR-IOV of this node: who has which VF, why a pod has none, and what to do.

    Nothing is changed without being shown first. Options may stand before the command or behind it. Those below can
    also be environment variables, as in SRIOVCTL_RUN_DIR.
    """
    context.meta[options.ENTER] = context.obj or standing.entered
    context.obj = paths.Places(**given)  # type: ignore[arg-type]


groups.add_version(program, "sriovctl")


@program.command("schema")
def _show_schema() -> None:
    """Print the JSON Schema of what `--output json` prints."""
    click.echo(json.dumps(documents.schema(), indent=2))


for _register in _COMMANDS:
    _register(program)


def main(arguments: Sequence[str] | None = None, enter: standing.Enter | None = None) -> int:
    """Run the command line; returns one of exit_codes.Exit. Pods are entered by the machine's kernel, or by `enter`."""
    return exit_codes.ended(
        lambda: program.main(arguments, prog_name="sriovctl", standalone_mode=False, obj=enter), "sriovctl"
    )
