"""A VF's name in the host, and who has it: another link by right, or another VF because its pod called it so."""

import errno
from collections.abc import Set

from sriov import devices, errors, kernel, ledger, netdevs, netdevstate
from sriov.node import Node


def drop_altnames(net: kernel.Kernel, link: kernel.Link, own: Set[str]) -> None:
    """All but its own."""
    for altname in link.altnames:
        if altname not in own:
            _drop(net, link, altname)


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
    other = None if holder.parent is None else devices.pci_address(holder.parent)
    record = None if other is None else book.read(other)
    if other is None or record is None or record.home is None or record.home.name == name:
        return False
    if name in holder.altnames:
        if name in netdevstate.altnames(book.homes.state(node.tree, other) or {}):
            return False
        _drop(net, holder, name)
        return True
    try:
        net.release_name(name)
    except errors.KernelError as error:
        return error.errno == errno.ENODEV
    return True


def _drop(net: kernel.Kernel, link: kernel.Link, altname: str) -> None:
    try:
        net.drop_altname(link.index, altname)
    except errors.KernelError as error:
        if error.errno != errno.ENOENT:
            raise
