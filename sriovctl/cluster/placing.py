"""Place of a command of `kubectl sriov`: the DaemonSet's pods, the one on a user's pod's node, and sriovctl in it."""

import sys
from collections.abc import Mapping, Sequence

import click

from sriov import errors, layout
from sriovctl.cluster import kubectl, pods, workloads


def found(client: kubectl.Kubectl, namespace: str | None) -> dict[str, pods.NodePod]:
    """Return the DaemonSet's pods by node. Raises SriovError if there is none, or if it may be somebody else's."""
    meta = click.get_current_context().meta
    selector, within = meta["selector"], meta["daemonset_namespace"] or namespace
    listed = client.get("pods", f"--namespace={within}" if within else "--all-namespaces", f"--selector={selector}")
    if len(spaces := pods.namespaces(listed)) > 1:
        raise errors.SriovError(
            f"pods with the label {selector} are in several namespaces, and anybody may set a label: "
            f"{layout.some(spaces, 8)}",
            "name that of the DaemonSet by --daemonset-namespace",
        )
    if not (by_node := pods.by_node(listed)):
        remedy = "is it installed? --selector and --daemonset-namespace say where it is"
        raise errors.SriovError(f"there is no pod of the DaemonSet, with the label {selector}", remedy)
    return by_node


def chosen(by_node: Mapping[str, pods.NodePod], named: Sequence[str]) -> list[pods.NodePod]:
    for node in named:
        if node not in by_node:
            there = layout.some(list(by_node), 8)
            raise click.UsageError(f"the DaemonSet has no pod on a node {node!r}: it is on {there}")
    return [by_node[node] for node in dict.fromkeys(named)] or list(by_node.values())


def attach(client: kubectl.Kubectl, pod: pods.NodePod, command: Sequence[str]) -> int:
    if pod.trouble:
        raise errors.SriovError(f"node {pod.node} cannot be asked: {pod.trouble}", "see `kubectl describe pod`")
    return client.attach(pod, command, terminal=sys.stdin.isatty() and sys.stdout.isatty())


def addresses(client: kubectl.Kubectl, peer: str, namespace: str | None) -> list[str]:
    """Return a peer's addresses, which it is itself or which the API server has of the pod. Raises SriovError."""
    if workloads.is_address(peer):
        return [peer]
    place, name = workloads.peer(peer, namespace)
    if not (known := workloads.addresses(client.get(f"pod/{name}", *place))):
        raise errors.SriovError(f"pod {peer} has no address yet", "write the address itself")
    return known
