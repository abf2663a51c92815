"""`sriovctl explain POD|VF`: the reasons why it has what it has, step by step, with what could not be seen."""

from typing import TextIO

import click

from sriov import devices, errors
from sriovctl import exit_codes, options, output, paths
from sriovctl.checks import explain
from sriovctl.node import facts, pod_spec

_TONES = {
    explain.Reply.YES: output.Tone.GOOD,
    explain.Reply.NO: output.Tone.BAD,
    explain.Reply.UNSEEN: output.Tone.WARNING,
}


def register(program: click.Group) -> None:
    program.add_command(_command)


@click.command("explain")
@click.argument("what", metavar="POD|VF")
@options.output_option
@click.option("--resource", "-r", "named", multiple=True, help="What the pod asks for, as in intel.com/rail_a.")
@click.option(
    "--pod-file",
    type=click.File("r"),
    help="What `kubectl get pod POD -o json` prints; - is stdin. Only the API server knows what a pod asks for.",
)
@options.pass_places
def _command(
    where: paths.Places, what: str, form: output.OutputFormat, named: tuple[str, ...], pod_file: TextIO | None
) -> int:
    """Explain why a pod has no VF, or what became of a VF.

    POD is NAMESPACE/NAME, or a NAME in namespace default; VF is a PCI address. The steps are: requested, pool, devices,
    healthy, registered, free, allocated, network, daemon, added, attached, link. The first no is the reason, and ends
    with status 1.
    """
    found = facts.collect(where)
    pci = _address(what)
    steps = explain.of_vf(found, pci) if pci is not None else explain.of_pod(_case(found, what, named, pod_file))
    reason = explain.reason(steps)
    told = output.document("Explanation", [_item(each) for each in steps], about=what, reason=reason and reason.name)
    output.show(form, _table(steps), told)
    if form.for_people:
        _conclude(what, steps, reason)
    return exit_codes.Exit.FINE if reason is None else exit_codes.Exit.TROUBLE


def _address(what: str) -> devices.PciAddress | None:
    try:
        return devices.pci_address(what.lower())
    except errors.DeviceError:
        return None


def _case(found: facts.Facts, what: str, named: tuple[str, ...], pod_file: TextIO | None) -> explain.Case:
    """Make the case of the resources that were named, else those that the pod asks for, else those it was given."""
    pod = what if "/" in what else f"default/{what}"
    spec = pod_spec.parse(pod_file.read(), pod_file.name) if pod_file else None
    if spec is not None and spec.name != pod:
        raise click.UsageError(f"{pod_file.name if pod_file else ''} is pod {spec.name}, not {pod}")
    given = tuple(dict.fromkeys(holder.resource for holder in found.seen.told.held_by(pod).values()))
    return explain.Case(found, pod, named or (tuple(spec.requests) if spec else given), spec)


def _conclude(what: str, steps: list[explain.ChainLink], reason: explain.ChainLink | None) -> None:
    if reason is not None:
        output.say(f"\n{what}: {reason.evidence}", output.Tone.BAD)
        output.say(f"remedy: {reason.remedy}" if reason.remedy else "")
        return
    unseen = [each.name for each in steps if each.answer is explain.Reply.UNSEEN]
    hint = f" (not seen: {', '.join(unseen)})" if unseen else ""
    output.say(f"\n{what}: nothing is wrong{hint}", output.Tone.GOOD)


def _item(one: explain.ChainLink) -> dict[str, object]:
    return {
        "step": one.name,
        "question": one.question,
        "answer": one.answer.value,
        "evidence": one.evidence,
        "remedy": one.remedy or None,
    }


def _table(steps: list[explain.ChainLink]) -> output.Table:
    columns = [output.Column(each) for each in ("QUESTION", "ANSWER", "EVIDENCE")]
    rows = [
        [output.cell(each.question), output.cell(each.answer.value, _TONES[each.answer]), output.cell(each.evidence)]
        for each in steps
    ]
    return output.Table(columns, rows)
