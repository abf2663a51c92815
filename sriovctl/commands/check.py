"""`sriovctl check FILE…`: whether the programs would take these files. Needs no node."""

import pathlib
import sys
from collections.abc import Sequence

import click

from sriovctl import exit_codes, options, output, paths
from sriovctl.checks import files
from sriovctl.views import documents


def register(program: click.Group) -> None:
    program.add_command(_command)


@click.command("check")
@options.output_option
@click.option(
    "--kind",
    type=click.Choice([each.value for each in files.FileKind]),
    help="What the files are; otherwise that is told by their keys.",
)
@click.argument("names", metavar="FILE...", nargs=-1, required=True)
@options.pass_places
def _command(where: paths.Places, form: output.OutputFormat, kind: str | None, names: Sequence[str]) -> int:
    """Check files before they are on a node: config, policy, network configurations, provisioning; - is stdin.

    They are read by the programs' own parsers. A file may also be a manifest with ConfigMaps and
    NetworkAttachmentDefinitions. Ends with status 1 if the programs would refuse one.
    """
    wanted = None if kind is None else files.FileKind(kind)
    verdicts = [verdict for name in names for verdict in _verdicts(name, wanted, where.prefix)]
    if form.for_people:
        for each in verdicts:
            _tell(each)
    else:
        document = documents.ChecksDocument([_item(each) for each in verdicts])
        output.show(form, output.Table((), ()), documents.plain(document))
    return exit_codes.Exit.TROUBLE if any(each.errors for each in verdicts) else exit_codes.Exit.FINE


def _verdicts(name: str, kind: files.FileKind | None, prefix: str) -> list[files.FileVerdict]:
    try:
        text = sys.stdin.buffer.read() if name == "-" else pathlib.Path(name).read_bytes()
    except OSError as error:
        return [files.FileVerdict(name, kind, (f"it cannot be read: {error.strerror}",))]
    return files.judge(text, name, kind, prefix)


def _tell(one: files.FileVerdict) -> None:
    what = f"{one.source} ({one.kind.value})" if one.kind else one.source
    if not one.errors:
        output.say(f"{what}: fine" if one.kind else f"{what}: nothing to check", output.Tone.GOOD)
    for error in one.errors:
        output.say(f"{what}: {_without(one.source, error)}", output.Tone.BAD)
    for warning in one.warnings:
        output.say(f"{what}: warning: {_without(one.source, warning)}", output.Tone.WARNING)


def _without(source: str, text: str) -> str:
    return text.removeprefix(f"{source}: ")


def _item(one: files.FileVerdict) -> documents.ChecksItem:
    return documents.ChecksItem(one.source, one.kind and one.kind.value, list(one.errors), list(one.warnings))
