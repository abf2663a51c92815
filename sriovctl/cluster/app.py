"""Program `kubectl-sriov`, which kubectl finds on PATH and runs as `kubectl sriov`: sriovctl on the cluster's nodes.

On one node that is named, a command of sriovctl runs as it is. On several, the commands that list things are merged.
"""

import json
from collections.abc import Sequence

import click

from sriov import command_lines, errors, layout
from sriovctl import exit_codes, groups, output
from sriovctl.cluster import asking, kubectl, merging, options, placing, pods, traffic, workloads
from sriovctl.views import documents, explanations

_MERGED = {"inventory": "Inventory", "attachments": "Attachments", "doctor": "Findings"}
_ONLY = "kubectl sriov"


class _Program(groups.CommandsFirst):
    """Takes options before the command or behind it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        every = [each for command in self.commands.values() for each in command.params]
        valued = {flag for each in every if isinstance(each, click.Option) and not each.is_flag for flag in each.opts}
        return super().parse_args(ctx, command_lines.command_first(args, self.commands, valued))


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def program() -> None:
    """sriovctl on the nodes of a cluster: in the container that the DaemonSet has for it on each.

    Options that are neither kubectl's nor below are sriovctl's own: `kubectl sriov inventory --pool rail_a`.
    """


groups.add_version(program, "kubectl-sriov")


def _add_merged(name: str) -> None:
    @program.command(name, context_settings=options.OPEN, help=_help(name))
    @options.nodes
    @options.form
    @options.namespace
    @options.common
    def run(
        named: tuple[str, ...], form: output.OutputFormat, namespace: str | None, arguments: tuple[str, ...]
    ) -> int:
        client = options.client()
        chosen = placing.chosen(placing.found(client, namespace), named)
        if len(chosen) == len(named) == 1:
            return placing.attach(client, chosen[0], [name, f"--output={form.value}", *arguments])
        if {"--watch", "-w"} & set(arguments):
            raise click.UsageError("--watch is for one node: name it with --node")
        if "release" in arguments:
            raise click.UsageError("attachments release is for one node: name it with --node")
        return _together(name, form, asking.ask(client, chosen, [name, "--output=json", *arguments]))


def _help(name: str) -> str:
    return f"Run `sriovctl {name}` on every node and merge what it prints; on one --node, as it is there."


@program.command("topology", context_settings=options.OPEN)
@click.option("--node", required=True, shell_complete=options.complete_nodes, help="The node.")
@options.namespace
@options.common
def _topology(node: str, namespace: str | None, arguments: tuple[str, ...]) -> int:
    """Run `sriovctl topology` on one node."""
    client = options.client()
    [chosen] = placing.chosen(placing.found(client, namespace), [node])
    return placing.attach(client, chosen, ["topology", *arguments])


@program.command("explain", context_settings=options.OPEN)
@click.argument("what", metavar="POD|VF")
@click.option("--node", shell_complete=options.complete_nodes, help="The node of a VF; that of a pod is found.")
@options.form
@click.option("--namespace", "-n", help="kubectl's own: of the pod.")
@options.common
def _explain(
    what: str, node: str | None, form: output.OutputFormat, namespace: str | None, arguments: tuple[str, ...]
) -> int:
    """Explain why a pod has no VF, on the pod's node, with what the API server knows of the pod.

    POD is NAMESPACE/NAME, pod/NAME or NAME. A VF needs its --node.
    """
    client = options.client()
    if node is not None:
        [chosen] = placing.chosen(placing.found(client, None), [node])
        return placing.attach(client, chosen, ["explain", what, f"--output={form.value}", *arguments])
    place, name = workloads.named(what, namespace)
    found = client.get(f"pod/{name}", *place)
    if unplaced := workloads.unplaced(found):
        output.complain(unplaced)
        return exit_codes.Exit.TROUBLE
    [chosen] = placing.chosen(placing.found(client, None), [found["spec"]["nodeName"]])
    about = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
    command = ["explain", about, "--pod-file=-", "--output=json", *arguments]
    return _explained(form, chosen, client.execute(chosen, command, json.dumps(found)))


@program.command("policy", context_settings=options.OPEN)
@click.argument("what", metavar="POD")
@click.option("--from", "sources", multiple=True, metavar="PEER", help="May it reach the pod? An address, or a pod.")
@click.option("--to", "targets", multiple=True, metavar="PEER", help="May the pod reach it?")
@options.form
@click.option("--namespace", "-n", help="kubectl's own: of the pods.")
@options.common
def _policy(
    what: str,
    *,
    sources: tuple[str, ...],
    targets: tuple[str, ...],
    form: output.OutputFormat,
    namespace: str | None,
    arguments: tuple[str, ...],
) -> int:
    """Run `sriovctl policy` on the pod's node: what may pass to and from it, and by which network policy.

    Pods are NAMESPACE/NAME, pod/NAME or NAME. Of a peer that is a pod the addresses in the cluster's network count.
    """
    client = options.client()
    place, name = workloads.named(what, namespace)
    found = client.get(f"pod/{name}", *place)
    if unplaced := workloads.unplaced(found):
        output.complain(unplaced)
        return exit_codes.Exit.TROUBLE
    asked = [f"--from={each}" for peer in sources for each in placing.addresses(client, peer, namespace)]
    asked += [f"--to={each}" for peer in targets for each in placing.addresses(client, peer, namespace)]
    [chosen] = placing.chosen(placing.found(client, None), [found["spec"]["nodeName"]])
    about = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
    return placing.attach(client, chosen, ["policy", about, *asked, f"--output={form.value}", *arguments])


def _explained(form: output.OutputFormat, pod: pods.NodePod, answer: kubectl.Execution) -> int:
    try:
        explanation = documents.explanation(answer.out)
    except (ValueError, RecursionError):
        told = answer.trouble or merging.OTHER_RELEASE
        raise errors.SriovError(f"node {pod.node} did not explain it: {told}", "see the pod's own log") from None
    output.show(form, explanations.table(explanation), {**json.loads(answer.out), "node": pod.node})
    if form.for_people:
        explanations.conclude(explanation)
        output.say(f"on node {pod.node}")
    return answer.status or exit_codes.Exit.FINE


def _together(name: str, form: output.OutputFormat, reports: Sequence[merging.Report]) -> int:
    if all(each.status == exit_codes.Exit.USAGE for each in reports):
        raise click.UsageError(layout.printable(reports[0].trouble))
    merged = merging.document(_MERGED[name], reports)
    output.show(form, merging.table(reports), merged)
    if form.for_people and not merged["items"]:
        output.say(f"{len(reports)} nodes have nothing to show")
    output.unseen(form, list(merging.grouped(merged["unseen"])))
    return merging.status(reports)


for _name in _MERGED:
    _add_merged(_name)
program.add_command(traffic.command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns one of exit_codes.Exit."""
    return exit_codes.ended(lambda: program.main(arguments, prog_name=_ONLY, standalone_mode=False), "kubectl-sriov")
