"""Addresses of pods with a VF on this node, as their own interfaces have them."""

from sriov import errors
from sriovctl.node import attachments
from sriovctl.node.policies import standing


def addresses(enter: standing.Enter, one: attachments.ListedAttachment) -> tuple[str, ...]:
    """Return those by which others reach the interface. Raises SriovError if the pod cannot be entered."""
    if one.state is not attachments.State.ATTACHED:
        raise errors.NetnsError(f"{one.record.pci} is {one.state.value}", "write the address itself")
    with enter(one.record.owner.netns, one.record.netns) as inner:
        found = inner.addresses(inner.link(one.record.owner.ifname).index)
    return tuple(str(each.ip) for each in found if not each.is_link_local)
