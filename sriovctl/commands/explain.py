"""`sriovctl explain POD|VF`: the reasons why it has what it has, step by step, with what could not be seen."""

from typing import TextIO

import click
import msgspec

from sriov import devices
from sriovctl import completions, exit_codes, names, options, output, paths
from sriovctl.checks.explaining import chain, claims, explain
from sriovctl.node import facts, pod_spec
from sriovctl.node.policies import standing
from sriovctl.views import documents, explanations


def register(program: click.Group) -> None:
    program.add_command(_command)


@click.command("explain")
@click.argument("what", metavar="POD|VF", shell_complete=completions.pods_and_vfs)
@options.output_option
@click.option(
    "--resource",
    "-r",
    "named",
    multiple=True,
    shell_complete=completions.pools,
    help="What the pod asks for, as in intel.com/rail_a.",
)
@click.option(
    "--pod-file",
    type=click.File("r"),
    help="What `kubectl get pod POD -o json` prints; - is stdin. Only the API server knows what a pod asks for.",
)
@options.pass_enter
@options.pass_places
def _command(
    where: paths.Places,
    enter: standing.Enter,
    *,
    what: str,
    form: output.OutputFormat,
    named: tuple[str, ...],
    pod_file: TextIO | None,
) -> int:
    """Explain why a pod has no VF, or what became of a VF.

    POD is NAMESPACE/NAME, pod/NAME, or a NAME; VF is a PCI address, a netdev, or PF#INDEX. The steps are: requested,
    scheduled, here, claim, pool, devices, healthy, registered, free, allocated, network, daemon, added, attached,
    services, node, policy, link. The first no is the reason, and ends with status 1. If there is no no, but something
    could not be seen that may be one, it ends with status 3.
    """
    found = facts.collect(where)
    vf = names.device(found.seen, what)
    about = names.pod(found.seen, what) if vf is None else vf
    mine = tuple(each for each in found.held if about in (each.record.pci, each.pod, each.kubelet))
    found = msgspec.structs.replace(found, policies=standing.look(where, found.seen, mine, enter))
    if vf is None:
        steps = explain.of_pod(_case(found, about, named, pod_file))
    elif named or pod_file:
        raise click.UsageError(f"--resource and --pod-file are about a pod, and {what} is a device: leave them out")
    else:
        steps = explain.of_vf(found, devices.PciAddress(vf))
    reason, open_steps = explain.reason(steps), explain.unseen(steps)
    unseen = [f"{each.name}: {each.evidence}" for each in open_steps]
    items = [_item(each) for each in steps]
    document = documents.ExplanationDocument(about, reason.name if reason else None, items, unseen=unseen)
    output.show(form, explanations.table(document), documents.plain(document))
    if form.for_people:
        explanations.conclude(document)
    if reason is not None:
        return exit_codes.Exit.TROUBLE
    return exit_codes.Exit.UNREADABLE if open_steps else exit_codes.Exit.FINE


def _case(found: facts.Facts, pod: str, named: tuple[str, ...], pod_file: TextIO | None) -> chain.Case:
    """Make the case of the resources that were named, else those that the pod asks for, else those it was given.

    Those of its claims are beside what it asks for.
    """
    spec = pod_spec.parse(pod_file.read(), pod_file.name) if pod_file else None
    if spec is not None and spec.name != pod:
        raise click.UsageError(f"{pod_file.name if pod_file else ''} is pod {spec.name}, not {pod}")
    by_claims = [each.resource for each in claims.devices(found.seen, pod) if each.resource]
    given = [holder.resource for holder in found.seen.told.held_by(pod).values()]
    meant = tuple(names.resource(found.seen, each) for each in named)
    return chain.Case(
        found, pod, meant or tuple(dict.fromkeys((*(spec.requests if spec else given), *by_claims))), spec
    )


def _item(one: chain.ChainLink) -> documents.ExplanationItem:
    return documents.ExplanationItem(one.name, one.question, one.answer.value, one.evidence, one.remedy or None)
