"""Verdict on ending an attachment by hand: allowed only if nobody owns it. Pure.

An owner is gone if there is evidence of it, and never because nothing is known: the kubelet forgets pods whose
processes still run, so its report counts for an owner and not against one. A VF whose netdev is in the host is evidence
that no kubelet contradicts: only the end of its namespace has brought it there.
"""

import msgspec

from sriov.state import ledger
from sriovctl.node import attachments


class Verdict(msgspec.Struct, frozen=True):
    """Verdict. `refusal` is why not, "" if allowed; `actions` are what will be done, `remedy` what to do instead."""

    refusal: str = ""
    remedy: str = ""
    actions: tuple[str, ...] = ()


def judge(one: attachments.ListedAttachment, *, is_gone: bool | None) -> Verdict:
    """Judge. `is_gone`: whether the kernel reports the owner's namespace destroyed; None if it cannot."""
    record, owner = one.record, one.record.owner
    if owner == ledger.UNKNOWN:
        return Verdict(
            f"the record of {record.pci} is damaged, so nobody knows whether a pod still has the VF",
            "the daemon scrubs it once it is in the host; if no pod has it, remove its file in the ledger",
        )
    if one.state is attachments.State.ATTACHED:
        return Verdict(
            f"{record.pci} is held by {one.pod or owner}: its namespace {owner.netns or '(path unknown)'} is there",
            "delete the pod; its DEL gives the VF back",
        )
    if one.state is attachments.State.UNSEEN:
        return Verdict(
            f"{record.pci} is held by {one.pod or owner}: its namespace {owner.netns} cannot be seen from here",
            "run sriovctl on the node itself",
        )
    if one.kubelet is not None and one.kubelet == one.pod and one.state is attachments.State.NO_NAMESPACE:
        return Verdict(
            f"{record.pci} is held by {one.pod}: the kubelet reports that the pod has it",
            "delete the pod; its DEL gives the VF back",
        )
    if record.home is None and not is_gone and one.state is not attachments.State.DEVICE_GONE:
        return Verdict(
            f"{record.pci} has no netdev, and the kernel does not report that the namespace of {owner} is destroyed",
            "end the processes that use the VF; the daemon releases it within ten seconds of that",
        )
    return Verdict(actions=_actions(one))


def _actions(one: attachments.ListedAttachment) -> tuple[str, ...]:
    record, owner = one.record, one.record.owner
    if one.state is attachments.State.DEVICE_GONE:
        return (f"forget that {owner} had {record.pci}: the device is gone, nothing is left to restore",)
    home = f"bring {record.pci} home as {record.home.name}, MAC {record.home.address}" if record.home else ""
    return (
        *filter(None, [home]),
        f"state its baseline: no administered MAC, spoof checking on, trust off, no VLAN (it has {record.wanted.vlan})",
        f"forget that {owner} on network {owner.network} had it",
        "leave the pod's address leased: only the runtime's own DEL or GC can release it",
    )
