"""Program: its options, its commands by name, and how failures are shown.

A command is a module of its own with one function `register(program)` that adds it; _COMMANDS lists these functions.
What takes long to import (grpc, pyroute2) is imported by the command that needs it, when it runs: help and completion
are fast.
"""

import json
import sys
from collections.abc import Callable, Sequence

import click

from sriov import errors, versions
from sriovctl import exit_codes, options, paths
from sriovctl.commands import attachments, check, doctor, explain, inventory, provision, topology
from sriovctl.views import documents

_COMMANDS: tuple[Callable[[click.Group], None], ...] = (
    inventory.register,
    attachments.register,
    doctor.register,
    explain.register,
    topology.register,
    provision.register,
    check.register,
)


class _Program(click.Group):
    """Shows its commands before its options, which are many and rarely needed, and their summaries whole.

    Options may stand before the command or behind it.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, options.in_order(args))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(self.commands[name])) for name in self.list_commands(ctx)])


def _summary(command: click.Command) -> str:
    """Return the first sentence of a command's help."""
    return " ".join((command.help or "").partition("\n\n")[0].split())


def _version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(versions.told("sriovctl"))
        context.exit()


@click.group(
    cls=_Program,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
    },
    epilog='Completion: eval "$(_SRIOVCTL_COMPLETE=bash_source sriovctl)" (or zsh_source, fish_source).',
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@options.of_places
@click.pass_context
def program(context: click.Context, /, **given: object) -> None:
    """See and manage the SR-IOV of this node: who has which VF, why a pod has none, and what to do.

    Nothing is changed without being shown first. Options may stand before the command or behind it. Those below can
    also be environment variables, as in SRIOVCTL_RUN_DIR.
    """
    context.obj = paths.Places(**given)  # type: ignore[arg-type]


@program.command("version")
def _show_version() -> None:
    """Show the version."""
    click.echo(versions.told("sriovctl"))


@program.command("schema")
def _show_schema() -> None:
    """Print the JSON Schema of what `--output json` prints."""
    click.echo(json.dumps(documents.schema(), indent=2))


for _register in _COMMANDS:
    _register(program)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns one of exit_codes.Exit."""
    try:
        status = program.main(arguments, prog_name="sriovctl", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        print("ended", file=sys.stderr)
        return exit_codes.Exit.ENDED
    except errors.SriovError as error:
        print(f"sriovctl: {error}", file=sys.stderr)
        return exit_codes.Exit.UNREADABLE
    except BrokenPipeError:  # `sriovctl inventory | head`
        sys.stderr.close()
        return exit_codes.Exit.FINE
    return status if isinstance(status, int) else exit_codes.Exit.FINE
