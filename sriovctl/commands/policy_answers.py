"""Answers of `sriovctl policy` as a document: verdicts on packets for each interface of a pod. Pure."""

from collections.abc import Iterator, Sequence

from sriov.cluster.policies import PolicyDirection
from sriovctl.checks import packets
from sriovctl.node import attachments
from sriovctl.node.policies import standing
from sriovctl.views import documents


def document(
    about: str,
    mine: Sequence[attachments.ListedAttachment],
    found: standing.PolicyStandings,
    questions: Sequence[packets.PacketQuestion],
) -> documents.PodPolicyDocument:
    """Return what may pass, or the answers to the questions if there are any."""
    items = [_item(one, each) for one in mine for each in _verdicts(one, found.of(one), questions)]
    interfaces = [_interface(each) for each in found.standings]
    unseen = [f"{each.interface}: {each.evidence}" for each in interfaces if each.in_force is None]
    return documents.PodPolicyDocument(about, interfaces, items, unseen=unseen)


def _verdicts(
    one: attachments.ListedAttachment,
    found: standing.PolicyStanding | None,
    questions: Sequence[packets.PacketQuestion],
) -> Iterator[packets.PacketVerdict]:
    if found is None or found.policy is None:
        yield from _without(questions, off=one.record.policy is None)
    elif not questions:
        yield from packets.everything(found.policy, found.held.scope)
    else:
        for each in questions:
            yield from packets.judged(found.policy, found.held.scope, each)


def _without(questions: Sequence[packets.PacketQuestion], *, off: bool) -> Iterator[packets.PacketVerdict]:
    """Yield the verdicts on an interface that is held to no policies, or to some that are not known."""
    reason = packets.Reason.OFF if off else packets.Reason.UNKNOWN
    for each in questions:
        yield packets.PacketVerdict(each.direction, each.peers, each.ports, off or None, reason)
    for direction in () if questions else PolicyDirection:
        yield packets.PacketVerdict(direction, None, None, off or None, reason)


def _item(one: attachments.ListedAttachment, verdict: packets.PacketVerdict) -> documents.PodPolicyItem:
    return documents.PodPolicyItem(
        one.record.owner.ifname,
        one.record.owner.network or None,
        verdict.direction.value,
        None if verdict.peers is None else list(verdict.peers),
        None if verdict.ports is None else list(verdict.ports),
        verdict.passes,
        verdict.reason.value,
        list(verdict.names),
    )


def _interface(one: standing.PolicyStanding) -> documents.PodPolicyInterface:
    return documents.PodPolicyInterface(one.held.scope.interface, one.one.record.pci, one.agrees, one.evidence)
