"""A VF's name in the host, and who has it: another link by right, or another VF because its pod called it so."""

import errno
from collections.abc import Set

from sriov import devices, errors
from sriov.attachment import netdevs
from sriov.attachment.node import Node
from sriov.linux import kernel
from sriov.linux.netdev import netdev_settings
from sriov.state import ledger

_GONE = frozenset({errno.ENODEV, errno.ENOENT})
"""Nobody has the name any more: the link is elsewhere, or somebody else has taken it off."""


def drop_altnames(net: kernel.Kernel, link: kernel.Link, own: Set[str]) -> None:
    """All but its own."""
    for altname in link.altnames:
        if altname not in own:
            try:
                net.drop_altname(link.index, altname)
            except errors.KernelError as error:
                if error.errno != errno.ENOENT:
                    raise


def free(node: Node, net: kernel.Kernel, book: ledger.Ledger, pci: devices.PciAddress, name: str) -> str:
    """The VF's host name; where another link has that by right, a name made of its PCI address, which nobody has."""
    holder = netdevs.if_there(net, name)
    if holder is None or holder.parent == pci or _gives_up(node, net, book, holder, name):
        return name
    return devices.fallback_name(pci)


def _gives_up(node: Node, net: kernel.Kernel, book: ledger.Ledger, holder: kernel.Link, name: str) -> bool:
    """Whether the name is free now. A VF that has come home and has an owner still is called as its pod wished.

    Somebody else takes that VF back, perhaps at this moment, and gives it its own name. So it is renamed only if it is
    called so still when the kernel does that.
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
    """Those that a VF with an owner has by right. None of every other link, and of a VF whose record cannot be read."""
    if holder.parent is None:
        return None
    pci = devices.pci_address(holder.parent)
    try:
        record = book.read(pci)
    except errors.LedgerError:
        return None
    if record is None or record.home is None:
        return None
    return netdev_settings.altnames(book.homes.state(node.tree, pci) or {}) | {record.home.name}
