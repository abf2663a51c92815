"""Help of a program with commands: the commands before its options, which are many and rarely needed. Pure."""

import click


class CommandsFirst(click.Group):
    """Shows its commands first, and their summaries whole."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(self.commands[name])) for name in self.list_commands(ctx)])


def _summary(command: click.Command) -> str:
    """Return the first sentence of a command's help."""
    return " ".join((command.help or "").partition("\n\n")[0].split())
