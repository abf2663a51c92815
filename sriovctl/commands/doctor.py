"""`sriovctl doctor`: problems of this node, each with severity, evidence and remedy."""

from collections.abc import Callable, Iterator

import click

from sriovctl import exit_codes, options, output, paths
from sriovctl.checks import cluster, gaps, hardware, kernel
from sriovctl.checks.explaining import policies
from sriovctl.checks.findings import Finding, Severity
from sriovctl.node import facts
from sriovctl.views import documents, findings

CHECKS: tuple[Callable[[facts.Facts], Iterator[Finding]], ...] = (
    *(hardware.pfs, hardware.links, hardware.vfs, hardware.iommu, hardware.acs),
    *(kernel.kernel, kernel.drivers, kernel.waiting),
    *(cluster.configuration, cluster.kubelet, cluster.cni, cluster.ledger),
    *(policies.doctor, cluster.managers),
)

_ORDER = list(Severity)


def register(program: click.Group) -> None:
    program.add_command(_command)


def examine(found: facts.Facts) -> list[Finding]:
    """Return the findings, the worst first, otherwise in the order of the checks. Pure."""
    everything = [finding for check in CHECKS for finding in check(found)]
    return sorted(everything, key=lambda finding: _ORDER.index(finding.kind.severity))


@click.command("doctor")
@options.output_option
@click.option("--all", "everything", is_flag=True, help="Also what is only worth knowing (severity info).")
@options.pass_places
def _command(where: paths.Places, form: output.OutputFormat, everything: bool) -> int:
    """Look for what keeps pods from their VFs: hardware, IOMMU, kernel, drivers, kubelet, CNI, network managers.

    Each finding has a fixed name, a severity, the evidence and a remedy. Ends with status 1 if there is an error, with
    3 if something could not be seen that may be one. Nothing is changed. Run it as root: other users do not see
    everything.
    """
    found = facts.collect(where)
    missed = [each for each in gaps.of(found) if everything or each.hides is not Severity.INFO]
    unseen = [each.text for each in missed]
    listed = [each for each in examine(found) if everything or each.kind.severity is not Severity.INFO]
    document = documents.FindingsDocument([_item(each) for each in listed], unseen=unseen)
    output.show(form, findings.table(document.items), documents.plain(document))
    if form.for_people and not listed:
        output.say(
            "no fault was found" if unseen else "nothing is wrong", output.Tone.PLAIN if unseen else output.Tone.GOOD
        )
    output.unseen(form, unseen)
    if any(each.kind.severity is Severity.ERROR for each in listed):
        return exit_codes.Exit.TROUBLE
    return exit_codes.Exit.UNREADABLE if any(each.hides is Severity.ERROR for each in missed) else exit_codes.Exit.FINE


def _item(one: Finding) -> documents.FindingsItem:
    kind = one.kind
    return documents.FindingsItem(kind.title, kind.severity.value, one.subject, one.evidence, kind.remedy)
