"""`pod add|del|list` at the lab's prompt: does what kubelet and container runtime do about a pod's VF."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import msgspec

from hack.story import node as nodes
from hack.story import stage as stages
from hack.story.terminal import Terminal
from sriov.state import ledger

SUBNET = "10.56.217.0/24"


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    node = nodes.Node(stages.Igb(), pathlib.Path(os.environ["LAB_NODE"]))
    try:
        options.verb(node, options)
    except nodes.StoryError as error:
        print(f"pod: {error}", file=sys.stderr)
        return 1
    return 0


def add(node: nodes.Node, options: argparse.Namespace) -> None:
    """a namespace NAME with a VF in it"""
    keys = dict(map(_pair, options.keys))
    resource = str(keys.pop("resource", "lab.io/rail_a"))
    if subprocess.run(["ip", "netns", "add", options.name], check=False).returncode:
        raise nodes.StoryError(f"there can be no namespace {options.name}")
    try:
        envs = node.ask_kubelet(do="allocate", pod=options.name, resource=resource, count=1)["envs"]
        device = next(value for key, value in envs.items() if not key.endswith("_INFO"))
        network = _network(node) | {"deviceID": device} | keys
        result = node.cni("ADD", network, options.name, f"/run/netns/{options.name}")
    except nodes.StoryError:
        _forget(node, options.name)
        raise
    print(json.dumps(result, indent=2))


def delete(node: nodes.Node, options: argparse.Namespace) -> None:
    """the end of a pod: its VF comes back as it was"""
    node.cni("DEL", _network(node), options.name, f"/run/netns/{options.name}")
    _forget(node, options.name)


def show(node: nodes.Node, _: argparse.Namespace) -> None:
    """who has which VF, as the ledger says"""
    rows = [
        (each.owner.container_id, each.pci, each.wanted.vlan, each.wanted.mac)
        for each in ledger.Ledger(node.run_dir).records()
    ]
    Terminal().table(("pod", "VF", "VLAN", "MAC"), rows)


def _forget(node: nodes.Node, name: str) -> None:
    node.ask_kubelet(do="free", pod=name)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _network(node: nodes.Node) -> dict[str, object]:
    ipam = {"type": "host-local", "dataDir": node.addresses, "ranges": [[{"subnet": SUBNET}]]}
    return {"cniVersion": "1.0.0", "name": "lab", "type": "sriov", "ipam": ipam}


def _pair(text: str) -> tuple[str, object]:
    """Parse `vlan=100`: the value as JSON if it is JSON, else a string."""
    key, _, value = text.partition("=")
    try:
        return key, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return key, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pod", description="Pods of the lab.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for word, verb in (("add", add), ("del", delete), ("list", show)):
        made = verbs.add_parser(word, help=verb.__doc__)
        made.set_defaults(verb=verb)
        if verb is not show:
            made.add_argument("name", metavar="NAME")
        if verb is add:
            made.add_argument(
                "keys", nargs="*", metavar="KEY=VALUE", help="resource=…, or a key of the CNI's configuration"
            )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
