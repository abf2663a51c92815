"""`sriovctl attachments`: attached VFs with owner, time and state; and `release` for a VF that nobody owns."""

import click

from sriov import errors
from sriov.linux import nsid
from sriov.state import ledger
from sriovctl import completions, exit_codes, names, options, output, paths
from sriovctl.checks import release
from sriovctl.node import attachments, cni_client, snapshot
from sriovctl.views import attachments as view
from sriovctl.views import documents


def register(program: click.Group) -> None:
    program.add_command(_group)


@click.group("attachments", invoke_without_command=True)
@options.output_option
@click.option("--stale", is_flag=True, help="Only those that are not with their pod.")
@click.pass_context
def _group(context: click.Context, form: output.OutputFormat, stale: bool) -> None:
    """Attached VFs: the pod that has each VF, since when, and in which state it is.

    attached, left behind (in the host, not clean yet), no namespace, device gone, unknown owner (damaged record).
    """
    if context.invoked_subcommand is not None:
        if stale or form is not output.OutputFormat.TABLE:
            raise click.UsageError(f"--stale and --output are not for {context.invoked_subcommand}: leave them out")
        return
    where = context.find_object(paths.Places)
    assert where is not None
    seen = snapshot.take(where)
    found = attachments.listed(seen)
    if stale:
        found = [each for each in found if each.state is not attachments.State.ATTACHED]
    document = documents.AttachmentsDocument([view.item(each) for each in found], unseen=list(seen.unseen))
    output.show(form, view.table(document.items), documents.plain(document))
    if form.for_people and not found and not seen.ledger_trouble:
        output.say("no VF is away from its pod" if stale else "no pod has a VF")
    output.unseen(form, seen.unseen)


@_group.command("release")
@click.argument("device", metavar="VF", shell_complete=completions.held)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@options.pass_places
def _release(where: paths.Places, device: str, yes: bool) -> int:
    """Take back a VF whose owner is gone, as its DEL would have done.

    The running CNI daemon does it, under its own lock of that VF; without the daemon nothing is done. If the owner may
    be alive, the release is refused, also with --yes.
    """
    seen = snapshot.take(where)
    pci = names.address(seen, device)
    one = next((each for each in attachments.listed(seen) if each.record.pci == pci), None)
    if one is None:
        output.say(f"nobody holds {pci}: there is nothing to release")
        return exit_codes.Exit.FINE
    verdict = release.judge(one, is_gone=_is_gone(one.record))
    if verdict.refusal:
        output.complain(f"refused: {verdict.refusal}; {verdict.remedy}")
        return exit_codes.Exit.REFUSED
    if problem := cni_client.trouble(where.daemon_socket):
        raise errors.BusyError(
            f"the CNI daemon does not answer, and only it may release a VF: {problem}",
            "start it; it takes back what nobody owns by itself within ten seconds",
        )
    return _carry_out(where, one, verdict, yes=yes)


def _carry_out(where: paths.Places, one: attachments.ListedAttachment, verdict: release.Verdict, *, yes: bool) -> int:
    output.say(f"{one.record.pci} is {one.state.value}: {one.state.meaning}. This will")
    for action in verdict.actions:
        output.say(f"  - {action}")
    if not yes and not click.confirm("Go on?", default=False):
        return exit_codes.Exit.REFUSED
    owner = one.record.owner
    cni_client.delete(where.daemon_socket, owner, one.record.pci)
    left = ledger.Ledger(where.run_dir).read(one.record.pci)
    if left is not None and left.owner == owner:
        raise errors.BusyError(f"the daemon succeeded, but {one.record.pci} is still held by {owner}", "see its log")
    output.say(f"{one.record.pci} is released", output.Tone.GOOD)
    return exit_codes.Exit.FINE


def _is_gone(record: ledger.Record) -> bool | None:
    """Report whether the kernel has destroyed the owner's namespace; None if it does not report that."""
    if record.mark is None or record.home is not None:
        return None
    return nsid.is_gone(record.mark)
