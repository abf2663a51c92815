"""Groups of commands, for both programs that have commands: help with the commands first, and the version."""

import click

from sriov import versions


class CommandsFirst(click.Group):
    """Shows its commands first, and their summaries whole."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(self.commands[name])) for name in self.list_commands(ctx)])


def add_version(program: click.Group, name: str) -> None:
    """Add `--version` and the command `version`."""

    def show(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
        if wanted:
            click.echo(versions.told(name))
            context.exit()

    click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version.")(
        program
    )

    @program.command("version")
    def version() -> None:
        """Show the version."""
        click.echo(versions.told(name))


def _summary(command: click.Command) -> str:
    """Return the first sentence of a command's help."""
    return " ".join((command.help or "").partition("\n\n")[0].split())
