"""A VF's netdev: finding it under any name, and changing it with drivers that refuse until the VF has been reset."""

import errno
from collections.abc import Sequence

from sriov import devices, errors
from sriov.linux import kernel
from sriov.linux.netdev import netdev_settings

_NO_REFUSAL = frozenset({errno.EBUSY, errno.EAGAIN, errno.ENODEV})


def configure(net: kernel.Kernel, ref: kernel.LinkRef, change: kernel.Change, *, trial: bool = False) -> bool:
    """Apply the whole change; returns whether the driver took it, which only with `trial` may be False.

    A VF that refuses is reset once and asked again. After its PF went down, igb answers no VF that has not been reset
    since (igb_rcv_msg_from_vf(), "VF not ready"), and igbvf makes EADDRNOTAVAIL of it. ixgbe does the same and also
    after each change of `trust` (ixgbe_ndo_set_vf_trust(), clear_to_send); ixgbevf_set_mac() makes EPERM of it and
    ixgbevf_change_mtu() EINVAL. Both drivers reset their VF whenever the link goes down.
    """
    if _taken(net, ref, change):
        return True
    bounce(net, ref)
    if trial:
        return _taken(net, ref, change)
    net.set_link(ref, change)
    return True


def _taken(net: kernel.Kernel, ref: kernel.LinkRef, change: kernel.Change) -> bool:
    try:
        net.set_link(ref, change)
    except errors.KernelError as error:
        if error.errno in _NO_REFUSAL or (change.address is None and change.mtu is None):
            raise
        return False
    return True


def bounce(net: kernel.Kernel, ref: kernel.LinkRef) -> None:
    """Take the link up and down again, or down and up: it ends in the state it was in."""
    up = net.link(ref).up
    for state in (not up, up):
        net.set_link(ref, kernel.Change(up=state))


def has_parents(net: kernel.Kernel, noted: kernel.LinkState | None) -> bool:
    """Report whether this kernel names each netdev's parent device, by the VF's first look or by any other link.

    If it does, a link without a parent is not the VF, whatever its name: anybody in a pod can make a veth.
    """
    if noted is not None:
        return netdev_settings.PARENT in noted
    return any(link.parent is not None for link in net.links())


def find(net: kernel.Kernel, pci: devices.PciAddress, names: Sequence[str]) -> kernel.Link | None:
    """Find the VF in this namespace by its PCI address, or by the first of these names that a parentless link has.

    Names are for a kernel that reports no link's parent (has_parents).
    """
    links = net.links()
    by_parent = [each for each in links if each.parent == pci]
    by_name = [each for name in names for each in links if each.parent is None and each.name == name]
    return next(iter(by_parent + by_name), None)


def if_there(net: kernel.Kernel, ref: kernel.LinkRef) -> kernel.Link | None:
    """Return the link with this index, name or altname in the namespace of `net`; None if there is none."""
    try:
        return net.link(ref)
    except errors.KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def delete_pair(net: kernel.Kernel, name: str, address: str) -> None:
    """Delete a pod's host link by its end in the host, if it is there: a link with another address is not ours.

    Both ends go, with the routes and the neighbours of both. The pod may be ending at this moment, or have deleted it.
    """
    found = if_there(net, name)
    if found is None or (found.name, found.address) != (name, address):
        return
    try:
        net.delete_link(found.index)
    except errors.KernelError as error:
        if error.errno != errno.ENODEV:
            raise
