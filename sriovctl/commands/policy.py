"""`sriovctl policy POD`: what may pass to and from a pod by its network policies, and whether the kernel has that."""

import click

from sriov import errors
from sriovctl import completions, exit_codes, names, options, output, paths
from sriovctl.checks.explaining import policies as verdicts
from sriovctl.commands import policy_answers, policy_questions
from sriovctl.node import attachments, snapshot
from sriovctl.node.policies import standing
from sriovctl.views import documents
from sriovctl.views import policies as view


def register(program: click.Group) -> None:
    program.add_command(_command)


@click.command("policy")
@click.argument("pod", metavar="POD", shell_complete=completions.pods)
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="PEER",
    shell_complete=completions.pods,
    help="May it reach the pod? An IP address, or a pod of this node.",
)
@click.option(
    "--to", "targets", multiple=True, metavar="PEER", shell_complete=completions.pods, help="May the pod reach it?"
)
@click.option("--port", metavar="PORT[/PROTOCOL]", help="The receiver's, as in 80, 53/udp or 9/sctp; icmp has none.")
@options.output_option
@options.pass_enter
@options.pass_places
def _command(
    where: paths.Places,
    enter: standing.Enter,
    *,
    pod: str,
    sources: tuple[str, ...],
    targets: tuple[str, ...],
    port: str | None,
    form: output.OutputFormat,
) -> int:
    """Say what may pass to and from a pod on a VF, and by which network policy.

    Without --from and --to all of it is listed. The answers are from the table by which the CNI daemon makes the pod's
    rules, and that is compared with what the kernel has in the pod. Ends with status 1 if something that was asked
    about does not pass, or if the rules are not in force; with 3 if that cannot be told.
    """
    seen = snapshot.take(where)
    held = attachments.listed(seen)
    asked = policy_questions.PolicyAsked(sources, targets, port)
    questions = policy_questions.read(asked, policy_questions.PeersPlace(seen, held, enter))
    about = names.pod(seen, pod)
    mine = tuple(each for each in held if about in (each.pod, each.kubelet))
    if not mine:
        raise errors.DeviceError(f"pod {about} has no VF on this node{_why(seen)}", f"see `sriovctl explain {about}`")
    document = policy_answers.document(about, mine, standing.look(where, seen, mine, enter), questions)
    output.show(form, view.table(document), documents.plain(document))
    if form.for_people:
        view.conclude(document, verdicts.RESTORE)
    return _status(document, asked=bool(questions))


def _why(seen: snapshot.Survey) -> str:
    return f", as far as can be seen ({seen.unseen[0]})" if seen.unseen else ""


def _status(document: documents.PodPolicyDocument, *, asked: bool) -> exit_codes.Exit:
    refused = asked and any(each.passes is False for each in document.items)
    if refused or any(each.in_force is False for each in document.interfaces):
        return exit_codes.Exit.TROUBLE
    return exit_codes.Exit.UNREADABLE if document.unseen else exit_codes.Exit.FINE
