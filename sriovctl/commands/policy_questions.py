"""Questions of `sriovctl policy`: peers and ports as a person writes them. What is wrong is a click.UsageError."""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

import click
import msgspec

from sriov import errors, layout
from sriov.cluster import policies
from sriov.cluster.policies import PolicyDirection
from sriovctl import names
from sriovctl.checks.packets import PacketQuestion
from sriovctl.node import attachments, snapshot
from sriovctl.node.policies import peers, standing


class PolicyAsked(msgspec.Struct, frozen=True):
    """What was written behind --from, --to and --port."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    port: str | None


class PeersPlace(msgspec.Struct, frozen=True):
    """Where pods are looked for that are named as peers."""

    seen: snapshot.Survey
    held: Sequence[attachments.ListedAttachment]
    enter: standing.Enter


def read(asked: PolicyAsked, node: PeersPlace) -> list[PacketQuestion]:
    """Return the questions; those about what comes to the pod are the first."""
    who = ((PolicyDirection.INGRESS, "--from", asked.sources), (PolicyDirection.EGRESS, "--to", asked.targets))
    if asked.port is not None and not (asked.sources or asked.targets):
        raise click.UsageError("--port asks about a peer: name it with --from or --to")
    return [
        PacketQuestion(direction, peer, _packet(peer, asked.port))
        for direction, flag, texts in who
        for text in texts
        for peer in _peers(text, flag, node)
    ]


def _peers(text: str, flag: str, node: PeersPlace) -> Iterator[bytes]:
    """Yield the peer's address, or those that a pod of this node has."""
    try:
        found = [text] if _is_address(text) else _of_pod(names.pod(node.seen, text), node)
    except errors.SriovError as error:
        raise click.BadParameter(f"{error.message}: write the address of {text} itself", param_hint=flag) from error
    if not found:
        raise click.BadParameter(
            f"{layout.printable(text)!r} is neither an IP address nor a pod with a VF on this node:"
            " write the peer's address, as in 10.56.0.7",
            param_hint=flag,
        )
    for each in map(ipaddress.ip_address, found):
        mapped = each.ipv4_mapped if isinstance(each, ipaddress.IPv6Address) else None
        yield (mapped or each).packed


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _of_pod(pod: str, node: PeersPlace) -> list[str]:
    mine: Iterable[attachments.ListedAttachment] = (each for each in node.held if pod in (each.pod, each.kubelet))
    return [address for each in mine for address in peers.addresses(node.enter, each)]


def _packet(peer: bytes, text: str | None) -> policies.Packet | None:
    """Return the packet that is meant; None for one of any port."""
    if text is None:
        return None
    if text.lower() == "icmp":
        return policies.Packet(peer)
    number, _, protocol = text.partition("/")
    transport = next((each for each in policies.Transport if each == (protocol or "TCP").upper()), None)
    if transport is None or not _is_port(number):
        raise click.BadParameter(
            f"{layout.printable(text)!r} is no port: write a number from 1 to 65535, with /tcp (the default), /udp or"
            " /sctp; or icmp, which has none",
            param_hint="--port",
        )
    return policies.Packet(peer, transport, int(number))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= policies.ALL_PORTS[1]
