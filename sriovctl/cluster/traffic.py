"""Command `kubectl sriov traffic`: a VF's network beside the cluster's, between two pods of its own."""

import functools
import secrets
import sys
from typing import Any

import click

from sriov import errors
from sriovctl import exit_codes, output
from sriovctl.cluster import measuring, options, workloads
from sriovctl.traffic import comparing, plans, pods, tools
from sriovctl.views import documents

_START = 180.0  # seconds that a pod may take to start: its node may have to get the image first
_DEFINITIONS = "network-attachment-definitions.k8s.cni.cncf.io"


class _Rate(click.ParamType[int]):
    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else plans.rate(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("traffic")
@click.argument("network", metavar="NETWORK")
@click.option(
    "--from",
    "sender",
    required=True,
    metavar="NODE",
    shell_complete=options.complete_nodes,
    help="The node that sends.",
)
@click.option(
    "--to",
    "receiver",
    required=True,
    metavar="NODE",
    shell_complete=options.complete_nodes,
    help="The node that receives.",
)
@click.option("--image", required=True, help="An image with iperf3, sockperf and iperf.")
@click.option("--seconds", type=click.IntRange(1, 600), default=5, show_default=True, help="Of each measurement.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Times that each is made.")
@click.option("--at-most", type=_Rate(), default="10G", show_default=True, help="Bits a second that are sent at most.")
@click.option("--yes", is_flag=True, help="Do it without a question.")
@options.form
@click.option("--namespace", "-n", help="kubectl's own: of the network and the pods.")
@functools.partial(options.cluster, seconds=_START)
def command(
    *,
    network: str,
    sender: str,
    receiver: str,
    image: str,
    seconds: int,
    rounds: int,
    at_most: int,
    yes: bool,
    form: output.OutputFormat,
    namespace: str | None,
) -> int:
    """Measure the traffic of two pods, by a VF's network and by the cluster's, side by side.

    It says first what it will do and how much it sends, and asks. NETWORK is a NetworkAttachmentDefinition: NAME or
    NAMESPACE/NAME.
    """
    if sender == receiver:
        raise click.UsageError(f"--from and --to are the same node {sender}: name two")
    client = options.client()
    place, name = workloads.named(network, namespace)
    definition = client.get(f"{_DEFINITIONS}/{name}", *place)
    within = definition["metadata"]["namespace"]
    if (resource := pods.resource(definition)) is None:
        about = f"network {within}/{name} is for no resource: it has no annotation {pods.RESOURCE}"
        raise errors.SriovError(about, "name a network of VFs")
    nodes = [client.get(f"node/{each}") for each in (sender, receiver)]
    load = tools.Load(seconds, plans.PACED, at_most)
    asked = f"{within}/{name}"
    plan = plans.TrafficPlan(within, asked, resource, (sender, receiver), image, load, rounds, secrets.token_hex(3))
    for line in plans.lines(plan):
        click.echo(line, err=True)
    if not yes and not _agreed():
        return exit_codes.Exit.REFUSED
    taken, left = measuring.measure(client, plan, nodes, client.seconds)
    output.show(form, _table(taken), documents.plain(_document(plan, taken)))
    return exit_codes.Exit.TROUBLE if left else exit_codes.Exit.FINE


def _agreed() -> bool:
    """Ask. Only a person at a terminal can agree."""
    if not sys.stdin.isatty():
        click.echo("nothing is done: cannot ask, stdin is not a terminal; use --yes", err=True)
        return False
    return click.confirm("Do this?", err=True)


def _table(taken: comparing.Taken) -> output.Table:
    columns = [output.Column("FIGURE"), *(output.Column(plans.WAYS[way].upper()) for way in taken)]
    rows = [[comparing.NAMES[line.key], *comparing.cells(line)] for line in comparing.lines(taken)]
    return output.Table(columns, [[output.cell(each) for each in row] for row in rows])


def _document(plan: plans.TrafficPlan, taken: comparing.Taken) -> documents.TrafficDocument:
    items = [
        documents.TrafficItem(line.key, way, value, ratio, list(taken[way][line.key]))
        for line in comparing.lines(taken)
        for way, value, ratio in zip(taken, line.values, line.ratios, strict=True)
    ]
    sender, receiver = plan.nodes
    return documents.TrafficDocument(network=plan.network, sender=sender, receiver=receiver, items=items)
