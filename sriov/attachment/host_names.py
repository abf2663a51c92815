"""A VF's name in the host, when another link has it: by right, or because that link is a VF named so by its pod."""

import errno
from collections.abc import Set

from sriov import devices, errors
from sriov.attachment import netdevs
from sriov.attachment.node import Node
from sriov.linux import kernel
from sriov.linux.netdev import netdev_settings
from sriov.state import ledger

_GONE = frozenset({errno.ENODEV, errno.ENOENT})
"""No link has the name any more: the link is elsewhere, or somebody else has removed the name."""


def drop_altnames(net: kernel.Kernel, link: kernel.Link, own: Set[str]) -> None:
    """Remove every altname of the link except its `own`."""
    for altname in link.altnames:
        if altname not in own:
            try:
                net.drop_altname(link.index, altname)
            except errors.KernelError as error:
                if error.errno != errno.ENOENT:
                    raise


def free(node: Node, net: kernel.Kernel, book: ledger.Ledger, pci: devices.PciAddress, name: str) -> str:
    """Return the VF's host name, or, if another link has that by right, its fallback name, made of its PCI address."""
    holder = netdevs.if_there(net, name)
    if holder is None or holder.parent == pci or _gives_up(node, net, book, holder, name):
        return name
    return devices.fallback_name(pci)


def _gives_up(node: Node, net: kernel.Kernel, book: ledger.Ledger, holder: kernel.Link, name: str) -> bool:
    """Free the name if its holder has no right to it; returns whether it is free now.

    A VF that is back in the host while its record remains still has the name its pod gave it. Another call takes that
    VF back, perhaps at this moment, and renames it. So it is renamed here only if it still has the name when the kernel
    carries that out.
    """
    own = _own_names(node, book, holder)
    if own is None or name in own:
        return False
    try:
        if name in holder.altnames:
            net.drop_altname(holder.index, name)
        else:
            net.release_name(name)
    except errors.KernelError as error:
        return error.errno in _GONE
    return True


def _own_names(node: Node, book: ledger.Ledger, holder: kernel.Link) -> frozenset[str] | None:
    """Return the names that a VF with an owner has by right; None for other links and for unreadable records."""
    if holder.parent is None:
        return None
    pci = devices.pci_address(holder.parent)
    try:
        record = book.read(pci)
    except errors.LedgerError:
        return None
    if record is None or record.home is None:
        return None
    return netdev_settings.altnames(book.identities.state(node.tree, pci) or {}) | {record.home.name}
